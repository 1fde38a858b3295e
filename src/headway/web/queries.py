"""What routes take in their query strings."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from headway.protocol.runs import RunFilters, Strict

PageSize = Annotated[int, Meta(ge=1)]


class CountRuns(RunFilters, kw_only=True, frozen=True):
    """GET /v1/runs:count: the filters of the list, and what to count by."""

    group_by: Literal["state", "task", "queue", "priority", "run_type"] = "state"


class GetRun(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}."""

    expand: list[Literal["output", "children"]] = []
    """children: the runs that it started. output is always there and may be named all the same."""
    wait_for: Literal["change", "final"] = "change"
    """What `Prefer: wait=N` waits for; a change is one of the version in If-None-Match, or else of the present one."""


class ListAfter(Strict, kw_only=True, frozen=True):
    """Lists that grow at their end: ask again with `after` = `next_after`."""

    after: Annotated[int, Meta(ge=0, le=10**15)] = 0
    page_size: PageSize = 50


class ListRecordErrors(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}/record-errors: ask again with `after`, the last record's id."""

    after: Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    page_size: PageSize = 50


class RunEvents(Strict, kw_only=True, frozen=True, rename={"start": "from"}):
    """GET /v1/runs/{id}/events, as a list or a stream."""

    after: Annotated[str, Meta(max_length=20)] | None = None
    """The number of the last event that is known already. A stream's `Last-Event-ID` header goes before it."""
    start: Literal["start", "now"] | None = None
    """Where to begin if nothing says what is known: a list and a run's stream at the start. `now` is an empty list whose
    `next_after` is where to go on."""
    page_size: PageSize = 50


class Feed(Strict, kw_only=True, frozen=True, rename={"start": "from"}):
    """GET /v1/events, as a list or a stream."""

    after: Annotated[str, Meta(max_length=20)] | None = None
    """The position after which to begin. A stream's `Last-Event-ID` header goes before it."""
    start: Literal["start", "now"] | None = None
    """Where to begin if nothing says what is known: a list at the start, a stream now. `now` is an empty list whose
    `next_after` is where to go on."""
    run_id: Annotated[list[str], Meta(max_length=200)] = []
    page_size: PageSize = 50


class Children(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}/children: a page, oldest first."""

    page_size: PageSize = 50
    page_token: str = ""
