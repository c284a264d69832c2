"""The compute-plane agent: dials out and serves a closed list of capabilities."""
