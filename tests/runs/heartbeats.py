"""A worker that sends heartbeats with what it holds."""


class HeartbeatingWorker:
    """A worker that says in its heartbeats which claims are under way, and what it has heard."""

    def __init__(self, harness, worker):
        self.harness, self.worker = harness, worker
        self.heard = 0

    async def beat(self, *held, claiming=(), heard=None):
        """Send a heartbeat and hear its answer."""
        heard = self.heard if heard is None else heard
        answer = await self.harness.report(self.worker, held=list(held), claiming=list(claiming), heard=heard)
        self.heard = answer.beat
        return answer
