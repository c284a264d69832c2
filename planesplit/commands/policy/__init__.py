"""`planesplit policy ...`: what the white paper's roles allow. Needs no running split."""
