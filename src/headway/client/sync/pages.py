# Generated from client/aio/pages.py by tools/unasync.py: change that, not this.
"""Paged lists as iterators that fetch page after page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from headway.client.sync.caller import Caller
from headway.protocol.runs import EventList, EventOut, LogList, LogOut, ResultList, ResultOut, RunList, RunOut

PAGE_SIZE = 200
T = TypeVar("T")
ItemT = TypeVar("ItemT", covariant=True)  # noqa: PLC0105 (PEP 695 needs 3.12)


class NumberedPage(Protocol[ItemT]):
    """Page of numbered items."""

    @property
    def data(self) -> Sequence[ItemT]: ...

    @property
    def next_after(self) -> int:
        """Number after which the next page begins."""
        ...

    @property
    def has_more(self) -> bool: ...


def runs(caller: Caller, path: str) -> Iterator[RunOut]:
    """Iterate over a list of runs; `path` may carry filters."""
    token = ""
    while True:
        page = caller.get(_with(path, page_size=PAGE_SIZE, page_token=token), RunList)
        yield from page.data
        token = page.next_page_token
        if not token:
            return


def events(caller: Caller, path: str, after: int) -> Iterator[EventOut]:
    return _numbered(caller, path, after, EventList)


def logs(caller: Caller, path: str, after: int) -> Iterator[LogOut]:
    return _numbered(caller, path, after, LogList)


def results(caller: Caller, path: str, after: int) -> Iterator[ResultOut]:
    return _numbered(caller, path, after, ResultList)


def _numbered(caller: Caller, path: str, after: int, kind: type[NumberedPage[T]]) -> Iterator[T]:
    more = True
    while more:
        page = caller.get(_with(path, after=after or "", page_size=PAGE_SIZE), kind)
        yield from page.data
        after, more = page.next_after, page.has_more


def _with(path: str, **query: Any) -> str:
    text = "&".join(f"{name}={value}" for name, value in query.items() if value != "")
    return f"{path}{'&' if '?' in path else '?'}{text}"
