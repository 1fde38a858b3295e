"""The organisation: whose runs, tasks and queues they are. Each sees its own, and nothing of the others."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.model.query import FIRST

DEFAULT_NAME: Final = "default"


class Organisation(msgspec.Struct, frozen=True):
    """One of those that share a store. Fields in the order of the columns."""

    id: int
    """A small number, for good; the first organisation has FIRST."""
    public_id: str
    """A UUID, for those outside."""
    name: str
    zone: str
    """The IANA name of the time zone in which it counts its days."""
    created_at: int
    state: str = "active"
    """active, disabled."""


def first(public_id: str, now_ms: int) -> Organisation:
    """Return the organisation that a new store begins with."""
    return Organisation(FIRST, public_id, DEFAULT_NAME, "UTC", now_ms)
