"""Memory goes back to the system after stalled viewers have left."""

from __future__ import annotations

from tunnel import heap

TRIM_BYTES = 4_194_304  # one full window: a trim walks the heap (about 1 ms), so not for less


class Memory:
    """Counts what was held for viewers and dropped; the heap keeps holes where it lay."""

    def __init__(self) -> None:
        self._dropped_bytes = 0

    def dropped(self, count_bytes: int) -> None:
        """Note bytes that were held and are free now; trims the heap when they add up."""
        self._dropped_bytes += count_bytes
        if self._dropped_bytes >= TRIM_BYTES:
            self._dropped_bytes = 0
            heap.trim()
