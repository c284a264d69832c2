"""Kubernetes: a small client, and a stand-in for the API server."""
