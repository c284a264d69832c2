"""What the control plane's parts read of their own cluster, each under its service account."""
