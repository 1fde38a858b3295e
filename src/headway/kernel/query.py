"""Filters and pages for lists of runs."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from headway.kernel.run import State

FIRST: Final = 1
"""Number of the first organisation, which every store has."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Filter of runs of one organisation: ANDed across fields, ORed within one.

    Times are integer milliseconds UTC; before is exclusive.
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
        """Whether the filter bounds the end time and otherwise has only fields that many runs share."""
        rest = replace(self, state=(), task=(), queue=(), finished_after=None, finished_before=None, organisation=FIRST)
        return (self.finished_after, self.finished_before) != (None, None) and rest == RunFilter()


class Page(msgspec.Struct, frozen=True):
    """Start, length and direction of a page."""

    size: int = 50
    after: str | None = None
    """Cursor: the position at the end of the previous page."""
    newest_first: bool = True
    by_end: bool = False
    """Whether the order is that of the end time, over finished runs; else that of the id, which is creation."""
