"""The customer's own endpoint for data that is too large, or too private, for the tunnel."""
