"""Faults of a value and their places: msgspec's messages and paths as RFC 6901 pointers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

FAULTS_MAX: Final = 10

_WHERE: Final = re.compile(r"^(.*?)(?: - at `(?:key in )?\$([^`]*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class ConversionError(ValueError):
    """A value does not fit its type; `faults` are pairs of a pointer within the value and a message."""

    def __init__(self, faults: Iterable[tuple[str, str]]) -> None:
        """Take at least one fault."""
        self.faults = list(faults)
        super().__init__(summary(self.faults))


def faults(error: msgspec.ValidationError) -> list[tuple[str, str]]:
    """Return pairs of a pointer and a message; faults of a hook are below the place at which it was called."""
    what, path = split(str(error))
    base = to_pointer(path)
    inner = error.__cause__
    if isinstance(inner, ConversionError):
        return [(base + pointer, message) for pointer, message in inner.faults]
    return [(base, what)]


def summary(found: list[tuple[str, str]]) -> str:
    """Return faults in one line: `/lines/0/count: it has to be greater than 0`."""
    texts = [f"{pointer}: {message}" if pointer else message for pointer, message in found[:FAULTS_MAX]]
    more = len(found) - len(texts)
    return "; ".join([*texts, f"and {more} more"] if more else texts)


def split(message: str) -> tuple[str, str]:
    """Return the two parts of msgspec's message: the fault and its path."""
    match = _WHERE.match(message)
    assert match is not None, "it matches everything"
    return match[1][:500], match[2] or ""


def to_pointer(path: str) -> str:
    """Return msgspec's path (`.runs[3].labels[...]`) as an RFC 6901 pointer, as far as it is exact."""
    steps = []
    for name, index in _STEP.findall(path):
        if index == "...":
            break
        steps.append(escaped(name) if name else index)
    return "".join(f"/{step}" for step in steps)


def escaped(name: str) -> str:
    """Return a name as a step of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")
