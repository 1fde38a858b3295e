"""Task functions of each kind, and their outputs."""

import msgspec
import pytest

from headway.protocol.workers import SucceededReport
from headway.worker.declaration.app import App


def output(outcome):
    assert isinstance(outcome, SucceededReport), outcome
    return msgspec.json.decode(outcome.output)


def both(body):
    """Make an async and a plain task of an async function whose awaits are all of the context."""

    def plain(ctx):
        steps = body(_Awaited(ctx))
        try:
            steps.send(None)
        except StopIteration as end:
            return end.value

    app = App()
    app.task(name="async")(body)
    app.task(name="plain")(plain)
    return app


class _Awaited:
    """A plain context behind the names of an async one."""

    def __init__(self, ctx):
        self._ctx = ctx

    def __getattr__(self, name):
        found = getattr(self._ctx, name)
        if name not in {"step", "sleep", "suspend", "wait_for_signal", "token", "wait_for_token", "start", "results"}:
            return found

        async def call(*args, **kwargs):
            return found(*args, **kwargs)

        return call


KINDS = pytest.mark.parametrize("kind", ["async", "plain"])
