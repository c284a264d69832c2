"""The leaks, by the way that payload takes out."""
