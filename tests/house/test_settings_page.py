"""No setting is undocumented, and docs/settings.md says what the code says."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path

from settings_page import GROUPS, page

ROOT = Path(__file__).parents[2]
MODULES = (
    "tunnel.settings",
    "relay.settings",
    "compute_agent.settings",
    "control_stub.settings",
    "customer_stub.settings",
    "kube.settings",
    "planesplit.split.options",
)


def test_the_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), "run: make settings"


def test_every_class_with_settings_is_on_the_page() -> None:
    listed = {cls for _, cls in GROUPS}
    for name in MODULES:
        for _, cls in inspect.getmembers(importlib.import_module(name), dataclasses.is_dataclass):
            if any("why" in field.metadata for field in dataclasses.fields(cls)):
                shown = any(issubclass(other, cls) for other in listed)  # fields are inherited
                assert shown, f"{cls.__module__}.{cls.__qualname__}"
