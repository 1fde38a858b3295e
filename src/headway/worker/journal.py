"""What earlier attempts of a run recorded, and the names under which this one asks for it.

Names come from the order of calls: the second `step("fetch")` is `fetch#2`. A function that makes the same calls in the
same order therefore finds what it recorded before.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from headway.engine.inheritance import FAILED_CHILD, HEIR, ORIGIN

RESERVED: Final = (
    "signal:", "signal-timeout:", "signal-expired:", "sleep:", "suspend:", "child:", "child-result:", "step-failure:",
    ORIGIN, HEIR, FAILED_CHILD,
)  # fmt: skip
"""Steps that the context keeps for itself begin with these."""
NAME_MAX: Final = 190
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_decode: Final = msgspec.json.Decoder().decode


class Journal:
    """The recorded steps of one run, as one attempt sees them."""

    __slots__ = ("_counts", "_steps")

    def __init__(self, steps: dict[str, Raw]) -> None:
        """Take the steps of the lease."""
        self._steps = dict(steps)  # in one process the server hands out the same empty ones to many
        self._counts: dict[str, int] = {}

    def count(self, name: str) -> int:
        """Return how often this name has been asked for, this time included."""
        number = self._counts.get(name, 0) + 1
        self._counts[name] = number
        return number

    def next_step(self, name: str) -> str:
        """Return the name of the next user step of that name; raise ValueError for one that cannot be used."""
        if name.startswith(RESERVED):
            raise ValueError(f"a step's name may not begin with {name.partition(':')[0]}:")
        number = self.count(valid(name))
        return name if number == 1 else f"{name}#{number}"

    def has(self, name: str) -> bool:
        """Return whether it is recorded."""
        return name in self._steps

    def value(self, name: str) -> Any:
        """Return what is recorded."""
        return _decode(self._steps[name])

    def record(self, name: str, text: bytes) -> Any:
        """Remember what has become durable, and return it as a later attempt will see it."""
        self._steps[name] = Raw(text)
        return _decode(text)


def valid(name: str) -> str:
    """Return the name; raise ValueError if it cannot be the name of a step, a signal or a token."""
    if not isinstance(name, str) or len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise ValueError(
            f"{str(name)[:40]!r} cannot be a name: 1 to {NAME_MAX} characters, none of them a control character"
        )
    name.encode()  # lone surrogates are no text
    return name
