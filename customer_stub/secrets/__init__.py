"""The customer's webhook: secrets go into pods at their start, and are seen nowhere else."""
