"""Structs of answers that only this API has."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from headway.protocol.runs import Open, RunOut


class RunDetail(RunOut, kw_only=True, frozen=True):
    """A run; with `?expand=children` also those that it started, the first page of them."""

    children: list[RunOut] | UnsetType = UNSET


class TokenCompleted(Open, kw_only=True, frozen=True):
    """What holding a token lets one know."""

    run_id: str
    state: str


class Asked(Open, kw_only=True, frozen=True):
    """How many runs were asked to stop."""

    asked: int


class ErrorPage(Open, kw_only=True, frozen=True):
    """What an error means: what a problem's `type` resolves to."""

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
