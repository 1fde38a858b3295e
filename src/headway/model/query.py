"""Filters and pages for lists of runs."""

from __future__ import annotations

import msgspec

from headway.model.run import State


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs: ANDed across fields, ORed within one. Times are integer milliseconds UTC; before is exclusive."""

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


class Page(msgspec.Struct, frozen=True):
    """Where a page starts, how long it is, and which way it goes."""

    size: int = 50
    after: str | None = None
    """The id of the last run of the page before."""
    newest_first: bool = True
