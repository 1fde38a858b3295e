"""The loop that reports its own progress: `async for x in ctx.track(items)`, or a plain `for`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
Advance = Callable[[int, int | None, str], None]
Message = str | Callable[[T], str] | None


class Track(Generic[T]):
    """Passes items on and counts one as done when the next is asked for. Used for one loop, of either kind."""

    __slots__ = ("_advance", "_items", "_message", "_total")

    def __init__(
        self, items: Iterable[T] | AsyncIterable[T], advance: Advance, total: int | None, message: Message[T]
    ) -> None:
        """`total` is the items' length unless it is given; `message` is a text or what makes one of an item."""
        self._items = items
        self._advance = advance
        self._total = total if total is not None else _length(items)
        self._message = message

    def __iter__(self) -> Iterator[T]:
        """Pass on the items of an iterable."""
        if not isinstance(self._items, Iterable):
            raise TypeError("these items come asynchronously: use `async for`")
        for done, item in enumerate(self._items):
            self._advance(done, self._total, self._text(item))
            yield item
            self._advance(done + 1, self._total, self._text(item))

    async def __aiter__(self) -> AsyncIterator[T]:
        """Pass on the items of an iterable of either kind."""
        if isinstance(self._items, AsyncIterable):
            done = 0
            async for item in self._items:
                self._advance(done, self._total, self._text(item))
                yield item
                done += 1
                self._advance(done, self._total, self._text(item))
        else:
            for item in self:
                yield item

    def _text(self, item: T) -> str:
        return self._message(item) if callable(self._message) else self._message or ""


def _length(items: object) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]  # asked, not assumed
    except TypeError:
        return None
