"""Samples of what running pods use, fed to the customer's ClickHouse."""
