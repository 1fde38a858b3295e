"""Cancel on disconnect: a wait ends when the client disconnects, the server drains, or the key is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Literal, Self

from headway.errors import Unauthenticated

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Reason = Literal["gone", "draining", "revoked"]


class CancelOnDisconnect:
    """Cancels the block when the client disconnects or the server drains, as `asyncio.timeout` does; `over` is the reason.

    with CancelOnDisconnect(waiting, call.receive) as wait:
        run = await service.runs.wait(…)
    if wait.over == "gone": …

    Raises Unauthenticated if the caller's key is revoked meanwhile.
    """

    __slots__ = ("_cancelling", "_receive", "_task", "_waiting", "_watch", "over", "stands")

    def __init__(
        self, waiting: set[CancelOnDisconnect] | None, receive: Receive, stands: Callable[[], bool] = lambda: True
    ) -> None:
        """`waiting` is the set of waits that a drain ends; None: a drain does not end this one.

        `stands` tells whether the caller's key is still good.
        """
        self.stands = stands
        self._waiting = waiting
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._cancelling = 0
        self.over: Reason | None = None

    def end(self, reason: Reason) -> None:
        """End the wait for a reason; later calls change nothing."""
        if self.over is None and self._task is not None:
            self.over = reason
            self._task.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end("gone")

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._watch = asyncio.get_running_loop().create_task(self._until_gone())
        if self._waiting is not None:
            self._waiting.add(self)
        if not self.stands():  # meanwhile
            self.end("revoked")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        assert self._task is not None
        assert self._watch is not None
        if self._waiting is not None:
            self._waiting.discard(self)
        self._watch.cancel()
        task, self._task = self._task, None
        if self.over is None:
            return False
        # Suppressed unless the task was cancelled from elsewhere too; a block that ended in the same moment has its result.
        ours = task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        if ours and self.over == "revoked":
            raise Unauthenticated("the key is not valid any more") from None
        return ours
