"""Observability metrics (A10): named queries over the customer's ClickHouse, streamed."""
