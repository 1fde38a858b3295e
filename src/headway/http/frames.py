"""Events as they go over a stream, encoded once for all who watch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from headway.http import present
from headway.model.event import Event

FRAMES_MAX: Final = 4096
_encode: Final = msgspec.json.Encoder().encode


class Frames:
    """Encoded lines of history by their position, the last few thousand: many watchers, one encoding."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, bytes] = OrderedDict()

    def line(self, event: Event) -> bytes:
        """Return the event without its id, which is another in a run's stream than in the feed."""
        frame = self._frames.get(event.position)
        if frame is None:
            data = _encode(present.event_out(event))
            frame = b"event: %b\ndata: %b\n\n" % (event.type.encode(), data)
            self._frames[event.position] = frame
            if len(self._frames) > FRAMES_MAX:
                self._frames.popitem(last=False)
        return frame
