"""Pushes canaries through every payload class of every row, by the ways that clients use."""
