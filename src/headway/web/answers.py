"""Answers: structs of responses that clients and workers do not share."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from headway.protocol.runs import Open, RunOut


class RunDetail(RunOut, kw_only=True, frozen=True):
    """A run; with `?expand=children` also the first page of the runs that it started."""

    children: list[RunOut] | UnsetType = UNSET


class TokenCompletion(Open, kw_only=True, frozen=True):
    """The completed run, as far as the holder of its token may see it."""

    run_id: str
    state: str


class TerminationCount(Open, kw_only=True, frozen=True):
    """Number of runs that were asked to stop."""

    asked: int


class ErrorPage(Open, kw_only=True, frozen=True):
    """Meaning of an error: the page to which a problem's `type` leads."""

    code: str
    status: int
    title: str
    description: str
    hint: str | None
    url: str


class ErrorPages(Open, kw_only=True, frozen=True):
    """All errors."""

    data: list[ErrorPage]


class AnyObject(Open, kw_only=True, frozen=True):
    """A JSON document."""

    openapi: str
    info: dict[str, Any]
