"""Proves that payload rests where the white paper says, and nowhere else."""
