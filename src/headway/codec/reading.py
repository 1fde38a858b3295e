"""Reading of JSON as a type, with a pointer to each fault."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from headway.codec.hints import hook, understood
from headway.codec.pointers import faults, summary

_plain: Final = msgspec.json.Decoder().decode


def read(text: bytes | msgspec.Raw, kind: Any = Any) -> Any:
    """Return decoded JSON as a type; raise msgspec.ValidationError with pointers, TypeError for unreadable types."""
    if kind is Any:
        return _plain(text)
    try:
        return _decoder(kind).decode(text)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(summary(faults(error))) from error.__cause__


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    try:
        return _kept(kind)
    except TypeError:  # of a type that cannot be hashed, or that nothing reads
        return _made(kind)


def _made(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(understood(kind), dec_hook=hook)


_kept = functools.lru_cache(maxsize=1000)(_made)
