"""The customer's object store: a subset of S3 that verifies every signature and every right."""
