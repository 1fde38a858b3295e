"""Waiting for something observable, with a deadline: the only way in which these tests let time pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 0.02


def until(look: Callable[[], T], within_s: float = 10.0, what: str | Callable[[], str] = "it") -> T:
    """Return the first true thing that `look` returns; fail if there is none in time.

    What is called says how it is then: a text that was made before says how it was.
    """
    between, deadline = threading.Event(), time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_s:g} s: {what if isinstance(what, str) else what()}")
        between.wait(EVERY_S)
    return found


def pause(seconds: float) -> None:
    """Let a load run for a while: how long is the test's own choice, not something it hopes to be enough."""
    threading.Event().wait(seconds)
