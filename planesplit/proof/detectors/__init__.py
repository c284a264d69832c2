"""Detectors: each looks into one kind of place, and says what it cannot see."""

from __future__ import annotations

from planesplit.proof.detectors.answers import Answers
from planesplit.proof.detectors.base import Detector
from planesplit.proof.detectors.database import Database
from planesplit.proof.detectors.fanotify import Writes
from planesplit.proof.detectors.files import Files
from planesplit.proof.detectors.memory import Memory
from planesplit.proof.detectors.output import Output
from planesplit.proof.detectors.pages import Pages
from planesplit.proof.detectors.process_io import ProcessIo
from planesplit.proof.detectors.rows import Rows
from planesplit.proof.detectors.sockets import Sockets
from planesplit.proof.detectors.stores import Stores

DETECTORS: tuple[type[Detector], ...] = (
    Stores,
    Database,
    Files,
    Writes,
    Output,
    Pages,
    Answers,
    Memory,
    ProcessIo,
    Sockets,
    Rows,
)

__all__ = ["DETECTORS", "Detector"]
