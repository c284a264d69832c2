"""Secrets, written into the customer's own backend; no call returns a value."""
