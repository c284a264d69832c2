"""Negative controls: leaks planted into a plane, so that the looking shows that it sees."""
