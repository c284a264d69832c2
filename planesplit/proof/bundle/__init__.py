"""Evidence that others can check: a signed file with a report, and what checks it."""
