"""The stores that a fault test is carried out on: a file, and a database that servers may share."""

from typing import Any, Final

import pytest

STORES: Final = ("sqlite", "postgres")
ON_BOTH: Final = pytest.mark.parametrize("place", STORES, indirect=True)
"""Mark a test, or a module in which all tests have a `place`."""
MINUTES: Final = (pytest.mark.long, pytest.mark.timeout(1800))


def kills(few: dict[str, int], many: int = 200) -> Any:
    """Mark a test that kills a few times on each store and, if there are minutes, many times."""
    given: list[Any] = [(store, few[store]) for store in STORES]
    given += [pytest.param(store, many, marks=MINUTES) for store in STORES]
    return pytest.mark.parametrize(("place", "kills"), given, indirect=["place"])
