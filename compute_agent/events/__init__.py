"""Kubernetes events of a pod, relayed live and kept nowhere."""
