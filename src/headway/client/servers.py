"""Rotation among several servers on one store: the same for both clients and the worker.

Users of one store share one `Servers`, which stays with a server as long as that answers and goes on to the next when
it fails. Each call, stream or wait makes its tries in a `Round` of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from headway.client.backoff import another_may_do_better
from headway.config import ClientSettings
from headway.errors import BadParameter, HeadwayError
from headway.setting import setting

T = TypeVar("T")
DEFAULT_URL: Final = "http://127.0.0.1:8006"
VARIABLES: Final = tuple(setting(ClientSettings, name).variable for name in ("server", "url"))
CONNECT_S: Final = 2.0
"""Timeout of a connection, in seconds, while another server can be asked: a machine that is gone refuses nothing."""


def urls(said: str | Iterable[str] | None = None) -> list[str]:
    """Return the given URLs, one or several with commas between; else the environment's; else the default.

    Repeated URLs are dropped. Raises BadParameter for a text without a URL.
    """
    if said is None or said == "":
        said = next((value for name in VARIABLES if (value := os.environ.get(name, "").strip())), DEFAULT_URL)
    given = [said] if isinstance(said, str) else list(said)
    found = dict.fromkeys(url.strip().rstrip("/") for text in given for url in text.split(",") if url.strip())
    if not found:
        raise BadParameter(f"{said!r:.200} names no server; write http://127.0.0.1:8006, and commas between several")
    return list(found)


class Servers(Generic[T]):
    """Connections to several servers on one store, one of which is in use. Threads may share it."""

    def __init__(
        self, each: Sequence[T], *, left: Callable[[T, HeadwayError | None], None] = lambda _, __: None
    ) -> None:
        """The first server is in use; `left` is called, with the reason, after a server was given up for the next."""
        assert each, "there is always a server to ask"
        self._each = tuple(each)
        self._left = left
        self._at = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> T:
        """Server in use."""
        return self._each[self._at]

    def leave(self, server: T, why: HeadwayError | None = None) -> None:
        """Use the next server from now on, unless this one was given up before or is the only one."""
        with self._lock:
            if server is not self.current or len(self._each) == 1:
                return
            self._at = (self._at + 1) % len(self._each)
        self._left(server, why)

    def round(self) -> Round[T]:
        """Begin the tries of a call."""
        return Round(self)

    def __len__(self) -> int:
        return len(self._each)

    def __iter__(self) -> Iterator[T]:
        return iter(self._each)


class Round(Generic[T]):
    """Tries of one call: after a failure the next server is asked at once; after each was asked, there is a pause."""

    __slots__ = ("_asked", "_failures", "_servers")

    def __init__(self, servers: Servers[T]) -> None:
        self._servers = servers
        self._asked = servers.current
        self._failures = 0

    def server(self) -> T:
        """Return the server to ask now."""
        self._asked = self._servers.current
        return self._asked

    def failed(self, why: HeadwayError | None = None) -> bool:
        """Use the next server if it may do better; return whether to ask it at once. `why` None: a stream ended."""
        if why is not None and not another_may_do_better(why):
            return False
        self._servers.leave(self._asked, why)
        self._failures = (self._failures + 1) % len(self._servers)
        return self._failures > 0
