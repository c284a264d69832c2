"""What a random program is: steps as plain lists, so that one prints, is read back, and replays."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

Step = list[int | str]


@dataclass
class Program:
    """One program.

    Args:
        seed: of the schedule.
        steps: what is done, in order.
    """

    seed: int = 0
    steps: list[Step] = field(default_factory=list)

    def script(self) -> str:
        """Return a command that replays it."""
        lines = ",\n ".join(json.dumps(step) for step in self.steps)
        return (
            "PYTHONPATH=.:tests python tests/properties/replay.py <<'END'\n"
            f'{{"seed": {self.seed}, "steps": [\n {lines}]}}\nEND'
        )

    @classmethod
    def of(cls, text: str) -> Program:
        """Read what `script` has between its two marks."""
        found = json.loads(text)
        return cls(found["seed"], found["steps"])
