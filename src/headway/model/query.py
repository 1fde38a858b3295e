"""Filters and pages for lists of runs."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from headway.model.run import State

FIRST: Final = 1
"""The first organisation: made with the store, and whose everything is where nobody says otherwise."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs: ANDed across fields, ORed within one. Times are integer milliseconds UTC; before is exclusive.

    They are always those of one organisation.
    """

    state: tuple[State, ...] = ()
    task: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    parent_id: str | None = None
    root_id: str | None = None
    key: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    finished_after: int | None = None
    finished_before: int | None = None
    organisation: int = FIRST

    @property
    def is_by_end(self) -> bool:
        """Whether it bounds the time of the end, and else goes by nothing that only few runs may have in common."""
        rest = replace(self, state=(), task=(), queue=(), finished_after=None, finished_before=None, organisation=FIRST)
        return (self.finished_after, self.finished_before) != (None, None) and rest == RunFilter()


class Page(msgspec.Struct, frozen=True):
    """Where a page starts, how long it is, and which way it goes."""

    size: int = 50
    after: str | None = None
    """Where the page before has ended: what it was returned with."""
    newest_first: bool = True
    by_end: bool = False
    """In order of the time of the end, and with those that have ended only; else in order of id, that is of creation."""
