"""The pytest plugin of planesplit. Nothing heavy is imported until a fixture is used."""

from __future__ import annotations
