"""Measurements of the relay beside its floor and peers; `python -m perf`."""
