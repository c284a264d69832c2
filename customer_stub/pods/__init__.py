"""Runs the containers of pods: real commands, replayed files, the seeded workload."""
