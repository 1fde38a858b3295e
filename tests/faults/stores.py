"""The stores that a fault test is carried out on, a file and a database that servers may share, and how often."""

import os
from typing import Any, Final

import pytest

STORES: Final = ("sqlite", "postgres")
ON_BOTH: Final = pytest.mark.parametrize("deployment", STORES, indirect=True)
"""Mark a test, or a module in which all tests have a `place`."""
TIMES: Final = int(os.environ.get("HEADWAY_FAULT_TIMES", "1"))
"""How many times as often as each night what takes minutes is tried; `./test --release` says 5."""
MINUTES: Final = (pytest.mark.long, pytest.mark.timeout(1800 * TIMES))

FILE_FIRST: Final = pytest.mark.parametrize(
    "deployment", ["sqlite", pytest.param("postgres", marks=MINUTES)], indirect=True
)
"""Mark a test of what hardly touches the store: on a database it is tried if there are minutes."""


def kills(few: dict[str, int], many: int = 200, within_s: int = 120) -> Any:
    """Mark a test that kills a few times on each store, which takes so long at most, and many times if there are minutes."""
    given: list[Any] = [pytest.param(store, few[store], marks=pytest.mark.timeout(within_s)) for store in STORES]
    given += [pytest.param(store, many * TIMES, marks=MINUTES) for store in STORES]
    return pytest.mark.parametrize(("deployment", "kills"), given, indirect=["deployment"])
