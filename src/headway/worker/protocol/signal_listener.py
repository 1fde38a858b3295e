"""The thread that listens: an open stream on which the server asks at once for what cannot wait for a heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import msgspec

from headway.clock import Clock
from headway.errors import HeadwayError, WorkerNotFound
from headway.wire.workers import StopSignal
from headway.worker.attempts.running import RunningAttempts
from headway.worker.protocol.link import Link, SignalStream
from headway.worker.protocol.session import Backoff, Session

LASTED_MS: Final = 1_000
"""A stream that stood this long is worth opening again soon."""


class SignalListener:
    """Keeps the signals stream open; its breaking off tells the server that this worker is gone, or is with another."""

    def __init__(
        self,
        attempts: RunningAttempts,
        link: Link,
        session: Session,
        clock: Clock,
        stopping: threading.Event,
        drain: Callable[[], None],
    ) -> None:
        """Keep the parts."""
        self._attempts = attempts
        self._link = link
        self._session = session
        self._clock = clock
        self._stopping = stopping
        self._drain = drain
        self._stream: SignalStream | None = None
        self.listens = threading.Event()
        """Whether a stream has been open: from then on the server notices at once when this worker dies."""

    def run(self) -> None:
        """Listen until the worker ends."""
        backoff = Backoff()
        while not self._stopping.is_set():
            worker_id, began_ms = self._session.id, self._clock.monotonic_ms()
            try:
                with self._link.signals(worker_id) as self._stream:
                    self.listens.set()
                    for signal in self._stream:
                        self._handle(signal)
            except WorkerNotFound:
                self._session.renew(worker_id, self._attempts.lose_all)
            except (HeadwayError, OSError, msgspec.MsgspecError):
                pass  # said by its coming back, or by the heartbeats
            if self._clock.monotonic_ms() - began_ms >= LASTED_MS:
                backoff.reset()
            self._stopping.wait(backoff.next_s())

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.close()

    def _handle(self, signal: object) -> None:
        if isinstance(signal, StopSignal):
            self._attempts.stop(signal)
        else:
            self._drain()
