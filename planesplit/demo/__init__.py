"""The demonstration: a whole split at work, with its tunnel cut on purpose."""
