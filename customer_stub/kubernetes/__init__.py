"""A small Kubernetes API: objects with versions, watches, pods over HTTP."""
