"""A stand-in for the Kubernetes API server; both planes run one, each over its own objects."""
