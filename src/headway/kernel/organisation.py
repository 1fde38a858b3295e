"""Organisations: owners of runs, tasks and queues, isolated from each other."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.kernel.query import FIRST

DEFAULT_NAME: Final = "default"


class Organisation(msgspec.Struct, frozen=True):
    """Tenant of a store. Fields in the order of the columns."""

    id: int
    """Small permanent number; the first organisation has FIRST."""
    public_id: str
    """UUID in the API."""
    name: str
    zone: str
    """IANA name of the time zone of its days."""
    created_at: int
    state: str = "active"
    """active, disabled."""


def first(public_id: str, now_ms: int) -> Organisation:
    """Return the first organisation of a new store."""
    return Organisation(FIRST, public_id, DEFAULT_NAME, "UTC", now_ms)
