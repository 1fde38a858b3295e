"""Clock and pause between tries; tests pass a pace that does not wait."""

from __future__ import annotations

import random
from asyncio import sleep
from time import monotonic


class AsyncPace:
    """Real time."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return monotonic()

    def spread(self) -> float:
        """Return a number from 0 to 1, for jitter."""
        return random.random()  # noqa: S311 (not a secret)

    async def pause(self, seconds: float) -> None:
        """Sleep for a number of seconds."""
        await sleep(seconds)
