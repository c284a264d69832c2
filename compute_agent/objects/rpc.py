"""What a caller may be told of the store's trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.objects.keys import BadPlace
from compute_agent.objects.signer import CannotSign
from compute_agent.objects.store import StoreError, StoreRefused, TooLarge


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turn the store's errors into ConnectErrors; their texts are ours and quote nobody.

    Raises:
        ConnectError: INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION or UNAVAILABLE.
    """
    try:
        yield
    except BadPlace as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    except TooLarge as error:
        raise ConnectError(Code.RESOURCE_EXHAUSTED, str(error)) from None
    except StoreRefused as error:
        raise ConnectError(Code.FAILED_PRECONDITION, str(error)) from None
    except (StoreError, CannotSign) as error:
        raise ConnectError(Code.UNAVAILABLE, str(error)) from None
