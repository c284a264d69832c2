"""What tails have posted during one turn of the loop leaves together, in one write a tunnel."""

from __future__ import annotations

from compute_agent.exchange import Answer


class Outbox:
    """Answers that units were posted to."""

    def __init__(self) -> None:
        self._answers: set[Answer] = set()

    def add(self, answer: Answer) -> None:
        """A unit was posted."""
        self._answers.add(answer)

    def send(self) -> None:
        """Have them sent."""
        answers, self._answers = self._answers, set()
        for answer in answers:
            answer.push()
