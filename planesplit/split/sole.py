"""The one exception in a group."""

from __future__ import annotations


def sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception in a group, however deep, or the group itself if there are more.

    A nursery wraps what its body raised; who uses a split should see his own exception.
    """
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return group if isinstance(error, BaseExceptionGroup) else error
