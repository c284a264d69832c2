"""The relay: forwards exchanges between viewers and agents in memory only; it never dials."""
