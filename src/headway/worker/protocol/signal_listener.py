"""The thread that listens: an open stream on which the server asks at once for what cannot wait for a heartbeat."""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from headway.errors import HeadwayError, WorkerNotFound
from headway.protocol.workers import StopSignal
from headway.worker.protocol.link import SignalStream
from headway.worker.protocol.session import Backoff
from headway.worker.protocol.thread import Parts, ProtocolThread

LASTED_MS: Final = 1_000
"""A stream that stood this long is worth opening again soon."""


class SignalListener(ProtocolThread):
    """Keeps the signals stream open; its breaking off tells the server that this worker is gone, or is with another."""

    def __init__(self, *parts: *Parts) -> None:
        super().__init__(*parts)
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
                self._renew(worker_id)
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
