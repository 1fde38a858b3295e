"""Caches of encoded runs and events, which many readers share."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from headway.kernel.event import Event
from headway.kernel.run import Run
from headway.web import present

FRAMES_MAX: Final = 4096
RUNS_MAX: Final = 256
RUN_BYTES_MAX: Final = 16 * 1024
_encode: Final = msgspec.json.Encoder().encode


class RunBodies:
    """Cache of encoded runs in the form of one surface; a run's version changes with it, so an entry never gets stale."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[int, bytes]] = {}

    def get(self, run: Run) -> bytes | None:
        """Return the cached body of this version of the run, or None."""
        known = self._runs.get(run.id)
        return known[1] if known is not None and known[0] == run.version else None

    def put(self, run: Run, body: bytes) -> bytes:
        """Cache the body, unless it is too large; return it."""
        if len(body) <= RUN_BYTES_MAX:
            if len(self._runs) >= RUNS_MAX:
                self._runs.clear()
            self._runs[run.id] = (run.version, body)
        return body


class Frames:
    """Cache of encoded events by position, and of encoded runs."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, bytes] = OrderedDict()
        self._runs = RunBodies()

    def run(self, run: Run) -> bytes:
        """Return the run as JSON."""
        return self._runs.get(run) or self._runs.put(run, present.run_json(run))

    def line(self, event: Event) -> bytes:
        """Return the event as a server-sent event without `id`, which differs between a run's stream and the feed."""
        frame = self._frames.get(event.position)
        if frame is None:
            data = _encode(present.event_out(event))
            frame = b"event: %b\ndata: %b\n\n" % (event.type.encode(), data)
            self._frames[event.position] = frame
            if len(self._frames) > FRAMES_MAX:
                self._frames.popitem(last=False)
        return frame
