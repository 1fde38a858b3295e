"""Messages between servers that share a database, sent with commits and received by a listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from headway.notify.events import CommitEvent
from headway.notify.message import Message, messages, read
from headway.store.unit_of_work import Announcements


class Server(msgspec.Struct, frozen=True):
    """One of the servers that share the database. Fields in the order of the columns."""

    id: str
    shard: int
    """Number of the server's rows of the counters."""
    host: str
    pid: int
    version: str
    beat: int
    """Counter of heartbeats, one every few seconds; it stands still for a server that is gone. No clock of another machine is looked at."""
    created_at: int
    heard_at: int


class Peers:
    """Sender and receiver of messages, which may come late, twice or not at all: they only say where to look."""

    def __init__(self, server_id: str, *, host: str, pid: int, version: str) -> None:
        self.server_id = server_id
        self.host = host
        self.pid = pid
        self.version = version
        self.start: Callable[[], None] = lambda: None
        """Begin to listen."""
        self.stop: Callable[[], None] = lambda: None
        """End that; may take a second."""
        self.relayed: dict[str, type[CommitEvent]] = {}
        """Events that servers relay to each other, by their names in messages."""
        self._on_message: Callable[[Message | None], None] = lambda message: None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, on_message: Callable[[Message | None], None]) -> None:
        """Begin to listen. `on_message` is called on the running event loop; with None if messages may have been missed."""
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self.start()

    def hear(self, text: str | None) -> None:
        """Take a message of any server; called on the thread that listens."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        message = None if text is None else read(text, self.relayed)
        if text is not None and (message is None or message.sender == self.server_id):
            return
        loop.call_soon_threadsafe(self._on_message, message)

    def messages(self, announced: Announcements) -> list[str]:
        """Return the messages about a transaction that is about to commit."""
        return messages(
            self.server_id, announced.run_ids, announced.lanes, announced.all_events(), catalog=announced.definitions
        )
