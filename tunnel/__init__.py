"""The tunnel: a wire protocol as a pure core, and thin trio drivers around it."""
