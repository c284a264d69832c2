"""What each role may do; the same for relay, agent and control plane."""

from __future__ import annotations

PERMISSIONS: dict[str, frozenset[str]] = {
    "Viewer": frozenset({"view"}),
    "Contributor": frozenset({"view", "run"}),
    "Admin": frozenset({"view", "run", "manage"}),
}
