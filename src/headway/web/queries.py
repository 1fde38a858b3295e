"""Query strings of routes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from headway.protocol.runs import RunFilters, Strict

PageSize = Annotated[int, Meta(ge=1)]


class CountRuns(RunFilters, kw_only=True, frozen=True):
    """GET /v1/runs:count: the filters of the list, and the member to count by."""

    group_by: Literal["state", "task", "queue", "priority", "run_type"] = "state"


class GetRun(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}."""

    expand: list[Literal["output", "children"]] = []
    """Further members: `children` are the runs that it started; `output` is always there and may be named all the same."""
    wait_for: Literal["change", "final"] = "change"
    """Event for which `Prefer: wait=N` waits; a change is one of the version in If-None-Match, or else of the present one."""


class ListAfter(Strict, kw_only=True, frozen=True):
    """Lists that grow at their end; the next page has `after` = `next_after`."""

    after: Annotated[int, Meta(ge=0, le=10**15)] = 0
    page_size: PageSize = 50


class ListRecordErrors(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}/record-errors; the next page has `after` = the last record's id."""

    after: Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    page_size: PageSize = 50


class RunEvents(Strict, kw_only=True, frozen=True, rename={"start": "from"}):
    """GET /v1/runs/{id}/events, as a list or a stream."""

    after: Annotated[str, Meta(max_length=20)] | None = None
    """Number of the last event that the client has. A stream's `Last-Event-ID` header takes precedence."""
    start: Literal["start", "now"] | None = None
    """Position without `after`; default of lists and of a run's streams: the start. `now` is an empty list whose
    `next_after` is the position to continue from."""
    page_size: PageSize = 50


class Feed(Strict, kw_only=True, frozen=True, rename={"start": "from"}):
    """GET /v1/events, as a list or a stream."""

    after: Annotated[str, Meta(max_length=20)] | None = None
    """Position after which to begin. A stream's `Last-Event-ID` header takes precedence."""
    start: Literal["start", "now"] | None = None
    """Position without `after`; default of lists: the start, of streams: now. `now` is an empty list whose
    `next_after` is the position to continue from."""
    run_id: Annotated[list[str], Meta(max_length=200)] = []
    page_size: PageSize = 50


class Children(Strict, kw_only=True, frozen=True):
    """GET /v1/runs/{id}/children: a page, oldest first."""

    page_size: PageSize = 50
    page_token: str = ""
