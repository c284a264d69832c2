"""Commands about clusters and identities."""

from __future__ import annotations
