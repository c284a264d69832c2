"""The customer infrastructure stand-in: pods that run, CRI log files, a Kubernetes-like API."""
