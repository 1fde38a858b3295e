"""Wake-ups within one process, after its own commits and after messages of other servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from headway.notify.message import mark_of

EVERY: Final = "*"
"""The topic of watchers of all runs."""

WakeUp = Callable[[], None]


class LocalNotifier:
    """Topics are run ids (and EVERY); a wake-up is a call that must not block."""

    def __init__(self) -> None:
        self.watchers: dict[str, set[WakeUp]] = {}
        """Wake-ups by topic."""
        self._marked: dict[str, set[str]] = {}
        """Mark → the topics that have it; see `notify.message`."""

    @contextmanager
    def watching(self, topic: str, wake_up: WakeUp) -> Iterator[None]:
        """Call `wake_up` after every commit that changed the topic. Look at the state after this has begun, not before."""
        watchers = self.watchers.setdefault(topic, set())
        watchers.add(wake_up)
        mark = mark_of(topic)
        self._marked.setdefault(mark, set()).add(topic)
        try:
            yield
        finally:
            watchers.discard(wake_up)
            if not watchers and self.watchers.get(topic) is watchers:
                del self.watchers[topic]
                self._marked[mark].discard(topic)
                if not self._marked[mark]:
                    del self._marked[mark]

    def publish(self, topics: Iterable[str]) -> None:
        """Wake the watchers of these topics."""
        watchers = self.watchers
        if not watchers:
            return
        for topic in topics:
            if topic in watchers:
                for wake_up in tuple(watchers[topic]):
                    wake_up()
        for wake_up in tuple(watchers.get(EVERY, ())):
            wake_up()

    def publish_marks(self, marks: Iterable[str]) -> None:
        """Wake the watchers of topics with these marks, after a commit of another server."""
        marked = self._marked
        self.publish([topic for mark in marks if mark in marked for topic in marked[mark]])

    def publish_all(self) -> None:
        """Wake all watchers, after messages may have been lost."""
        self.publish(tuple(self.watchers))

    @property
    def count(self) -> int:
        """Number of watchers."""
        return sum(map(len, self.watchers.values()))
