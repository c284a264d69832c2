"""`planesplit bench`: latency of lines through a split, and what the tunnel adds to the link."""
