"""A whole split, started and steered as one."""
