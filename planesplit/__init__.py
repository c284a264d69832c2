"""planesplit: start, use, test, benchmark and demonstrate a split control and compute plane."""
