"""How soon the signals stream is opened again: it depends on how long it stood."""

import threading

from tests.worker.kit import FakeLink, FakeSignals

from headway.clock import ManualClock
from headway.worker.protocol.signal_listener import LASTED_MS, SignalListener


class Stopping(threading.Event):
    """Notes how long it was waited for, and is set after so many times."""

    def __init__(self, waits):
        super().__init__()
        self.waits, self._most = [], waits

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if len(self.waits) == self._most:
            self.set()


class Known:
    id = "w1"


def waits(stood_ms, times):
    """Return how long it waits between streams that all stood that long and said nothing."""
    link, clock, stopping = FakeLink(), ManualClock(), Stopping(times)

    class Ended(FakeSignals):
        def __iter__(self):
            clock.advance(stood_ms)
            return iter(())

    link.signals = lambda _: Ended(None)
    SignalListener(None, link, Known(), clock, stopping, lambda: None).run()
    return stopping.waits


def test_streams_that_stood_are_opened_again_at_once_however_often_they_ended():
    assert max(waits(LASTED_MS, 20)) < 0.1


def test_streams_that_end_at_once_are_opened_ever_more_seldom():
    assert waits(LASTED_MS - 1, 12)[-1] > 1
