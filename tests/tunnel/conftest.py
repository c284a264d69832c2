"""Certificates for the tunnel's tests; Hypothesis, repeatable and writing nothing to disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from wires import Contexts

from planesplit.pki import Authority

settings.register_profile(
    "deterministic",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """TLS contexts with certificates of a private authority."""
    return Contexts.of(Authority(Path(tmp_path_factory.mktemp("authority")) / "pki"))
