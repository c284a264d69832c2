"""Options and groups that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter


def _said(default: object) -> str | None:
    """Return a default for help texts; none if the option then does nothing."""
    return None if default is None or default is False or default in ("", ()) else str(default)


app = App(
    name="planesplit",
    help="A split control and compute plane on one machine; payload is relayed in memory only.",
    backend="trio",
    help_format="plaintext",
    version_flags=["--version"],
    default_parameter=Parameter(
        negative_iterable=(),
        show_default=_said,
    ),
)
get = App(name="get", help="List things of the running split.")
put = App(name="put", help="Put things into the customer's plane.")
app.command(get)
app.command(put)

ReadyFile = Annotated[
    Path | None,
    Parameter(
        env_var="PLANESPLIT_READY",
        help="Ready file of the split to talk to; the latest 'up' by default.",
    ),
]
Output = Annotated[
    Literal["table", "json"], Parameter(name=["--output", "-o"], help="How results are printed.")
]
Json = Annotated[bool, Parameter(negative="", help="One JSON object.")]
