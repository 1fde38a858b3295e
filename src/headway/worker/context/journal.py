"""Journal of a run: steps that earlier attempts recorded, and the names under which this attempt asks for them.

Names come from the order of calls: the second `step("fetch")` is `fetch#2`. A function that makes the same calls in the
same order therefore finds what it recorded before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import msgspec
from msgspec import Raw

from headway.kernel.inheritance import FAILED_CHILD, HEIR, ORIGIN, STEP_FAILURE
from headway.protocol.workers import StepFailure

RESERVED: Final = (
    "signal:", "signal-timeout:", "signal-expired:", "sleep:", "suspend:", "child:", "child-result:", STEP_FAILURE,
    ORIGIN, HEIR, FAILED_CHILD,
)  # fmt: skip
"""Steps that the context keeps for itself begin with these."""
NAME_MAX: Final = 190
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_decode: Final = msgspec.json.Decoder().decode
_decode_failure: Final = msgspec.json.Decoder(StepFailure).decode


class StepScope:
    """The inside of a step while its function is called."""

    __slots__ = ("names", "outer", "step")

    def __init__(self, step: str, outer: StepScope | None) -> None:
        """`outer` is the step around it."""
        self.step = step
        self.outer = outer
        self.names: list[str] = []
        """The names that were counted in there: a second try of the step has to ask for the same ones."""


current_step: ContextVar[StepScope | None] = ContextVar("headway_step", default=None)
"""The step that this code belongs to."""


class Journal:
    """The recorded steps of one run, as one attempt sees them."""

    __slots__ = ("_counts", "_open", "_steps")

    def __init__(self, steps: dict[str, Raw]) -> None:
        """Take the steps of the lease."""
        self._steps = dict(steps)  # in one process the server hands out the same empty ones to many
        self._counts: dict[str, int] = {}
        self._open: list[StepScope] = []

    def count(self, name: str) -> int:
        """Return how often this name has been asked for, this time included."""
        number = self._counts.get(name, 0) + 1
        self._counts[name] = number
        if (scope := current_step.get()) is not None:
            scope.names.append(name)
        return number

    @contextmanager
    def scope(self, step: str, *, retried: bool) -> Iterator[None]:
        """Call the step's function in here. One that is retried counts what it asks for from the same numbers in each try."""
        scope = StepScope(step, current_step.get())
        token = current_step.set(scope)
        self._open.append(scope)
        try:
            yield
        except Exception:
            if retried:
                for name in scope.names:
                    self._counts[name] -= 1
                scope.names.clear()
            raise
        finally:
            self._open.remove(scope)
            current_step.reset(token)
            if scope.outer is not None:
                scope.outer.names += scope.names

    def busy(self) -> bool:
        """Return True if the function of another step is under way, apart from the steps around this code."""
        around, scope = set(), current_step.get()
        while scope is not None:
            around.add(scope)
            scope = scope.outer
        return any(scope not in around for scope in self._open)

    def next_step(self, name: str) -> str:
        """Return the name of the next user step of that name; raise ValueError for a reserved or invalid name."""
        if name.startswith(RESERVED):
            raise ValueError(f"a step's name must not begin with {name.partition(':')[0]}:")
        number = self.count(valid(name))
        return name if number == 1 else f"{name}#{number}"

    def has(self, name: str) -> bool:
        """Return True if a step of that name is recorded."""
        return name in self._steps

    def value(self, name: str) -> Any:
        """Return the recorded value of a step."""
        return _decode(self._steps[name])

    def failures(self, step: str) -> tuple[int, StepFailure | None]:
        """Return how often the step has failed, and the last failure."""
        number = 0
        while self.has(f"{STEP_FAILURE}{step}:{number + 1}"):
            number += 1
        return number, _decode_failure(self._steps[f"{STEP_FAILURE}{step}:{number}"]) if number else None

    def record(self, name: str, text: bytes) -> Any:
        """Add a step that has become durable, and return its value as a later attempt reads it."""
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
