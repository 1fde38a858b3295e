"""Wake-ups within one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

EVERY: Final = "*"
"""The topic of those who watch all runs."""

WakeUp = Callable[[], None]


class LocalNotifier:
    """Topics are run ids (and EVERY); a wake-up is a call that must not block."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[WakeUp]] = {}

    @contextmanager
    def watching(self, topic: str, wake_up: WakeUp) -> Iterator[None]:
        """Call `wake_up` after every commit that changed the topic. Look at the state after this has begun, not before."""
        watchers = self._watchers.setdefault(topic, set())
        watchers.add(wake_up)
        try:
            yield
        finally:
            watchers.discard(wake_up)
            if not watchers and self._watchers.get(topic) is watchers:
                del self._watchers[topic]

    def publish(self, topics: Iterable[str]) -> None:
        """Wake whoever watches one of the topics."""
        watchers = self._watchers
        if not watchers:
            return
        for topic in topics:
            if topic in watchers:
                for wake_up in tuple(watchers[topic]):
                    wake_up()
        for wake_up in tuple(watchers.get(EVERY, ())):
            wake_up()

    @property
    def count(self) -> int:
        """How many are watching."""
        return sum(map(len, self._watchers.values()))
