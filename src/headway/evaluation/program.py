"""The main program of an evaluating child process: `python -m headway.evaluation.program`.

It reads requests from its standard input, and answers on its standard output, until the input ends. Work that exceeds
the limits kills the process, and fails that piece of work alone.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from typing import Any, BinaryIO, Final

import msgspec

from headway.evaluation import checking, limits, rendering
from headway.evaluation.messages import LENGTH_BYTES, Check, Fault, Look, Render, RenderAnswer, Request, Verdict

TURN_S: Final = 0.5
"""Seconds after which no further row is begun, so that other requests get the child."""
SCHEMAS_MAX: Final = 64
"""Size of the cache of compiled schemas."""

_decode: Final = msgspec.json.decode


class Answers:
    """Answers one request after the other."""

    def __init__(self, outgoing: BinaryIO) -> None:
        self._outgoing = outgoing
        self._encode = msgspec.json.Encoder().encode

    def send(self, answer: msgspec.Struct) -> None:
        """Send an answer."""
        text = self._encode(answer)
        self._outgoing.write(len(text).to_bytes(LENGTH_BYTES) + text)
        self._outgoing.flush()

    def to(self, request: Request) -> None:
        """Carry out one request."""
        match request:
            case Render():
                self._render(request)
            case Look():
                self.send(rendering.look(request.source, limits.limited))
            case Check():
                self._check(request)

    def _render(self, request: Render) -> None:
        began = time.monotonic()
        for index, row in enumerate(request.rows):
            if index and time.monotonic() - began > TURN_S:
                self.send(RenderAnswer(later=True))
                return
            self.send(rendering.render(request.templates, row, limits.limited))

    def _check(self, request: Check) -> None:
        with limits.limited(soft=False):
            try:
                validator = _validator(request.schema)
            except checking.Unusable as error:
                self.send(Verdict(unusable=str(error)))
                return
            if request.input is None:
                self.send(Verdict(valid=True))
                return
            value: Any = _decode(request.input)
            valid = validator.is_valid(value)
        self.send(Verdict(valid=valid))
        if not valid:
            for find in (_first, checking.faults):  # the first is found even where all exceed the limits
                with limits.limited(soft=False):
                    found = find(validator, value)
                self.send(Verdict(faults=found))


def _first(validator: Any, value: Any) -> list[Fault]:
    return [checking.first_fault(validator, value)]


@lru_cache(maxsize=SCHEMAS_MAX)
def _validator(schema: str) -> Any:
    return checking.compiled(_decode(schema))


def warm() -> None:
    """Import everything that may be needed, since no files can be opened afterwards."""
    rendering.warm()
    _validator('{"type":"string","pattern":"^a$"}').is_valid(1)
    try:
        checking.compiled({"$ref": "elsewhere"})
    except checking.Unusable:
        checking.faults(checking.compiled({"type": "string"}), 1)


if __name__ == "__main__":
    warm()
    limits.confine()
    answers = Answers(sys.stdout.buffer)
    read = msgspec.json.Decoder(Request).decode
    while head := sys.stdin.buffer.read(LENGTH_BYTES):
        answers.to(read(sys.stdin.buffer.read(int.from_bytes(head))))
