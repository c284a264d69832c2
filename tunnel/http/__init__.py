"""An HTTP/1.1 listener for ASGI applications: strict in what it accepts, bounded in all it does."""
