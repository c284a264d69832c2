from __future__ import annotations

from collections.abc import Iterator

import pytest
from namespaces import Namespaces, NamespacesUnavailable


@pytest.fixture(scope="session")
def namespaces() -> Iterator[Namespaces]:
    """The planes' namespaces; skips, saying why, where the machine does not permit them."""
    made = Namespaces()
    try:
        made.create()
    except NamespacesUnavailable as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield made
    made.remove()
