import queue
import threading

import pytest
from tests.worker.kit import FakeLink

from headway.worker.worker import Worker, WorkerOptions


class Works:
    """A worker that runs in a thread, and the server it talks to."""

    def __init__(self, app, link, spec, options):
        self.link = link
        self.left = queue.SimpleQueue()
        self.said = []
        self.worker = Worker(app, link, options, spec=spec, say=self.said.append, abandon=self.left.put)
        self.code = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        self.code = self.worker.run()

    def end(self):
        self.worker.drain()
        return self.join()

    def join(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.code


@pytest.fixture
def start():
    """Start workers; they are drained at the end, at once."""
    started = []

    def begin(app, link=None, *, spec="tests.worker.rough:app", **options):
        options = {"capacity": 10, "drain_grace_ms": 10_000, **options}
        started.append(Works(app, link or FakeLink(), spec, WorkerOptions(**options)))
        return started[-1]

    yield begin
    for works in started:
        if works.code is None:
            works.worker.drain(at_once=True)
            works.join()
