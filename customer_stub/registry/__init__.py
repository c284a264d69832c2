"""The customer's container registry: OCI distribution, every blob checked against its digest."""
