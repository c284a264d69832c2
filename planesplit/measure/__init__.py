"""The measuring engine: what `make perf` and benchmarks share."""
