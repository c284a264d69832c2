"""The relay's seal: a process gives up, for good, what it would need to keep or send anything.

`apply.seal_process` does it. Nothing here needs root; nothing here can be undone.
"""
