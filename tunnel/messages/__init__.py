"""Messages of planesplit.v1 and the Connect application builder; never imported by the relay."""
