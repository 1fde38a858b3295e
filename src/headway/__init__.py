"""Durable tasks: start, watch, suspend, stop and remember background work.

    import headway

    app = headway.App()

    @app.task
    async def greet(ctx: headway.Context, who: str) -> str:
        return f"hello {who}"

With `headway serve module:app` running:

    client = headway.Client()
    print(client.runs.start("greet", who="World").result())

What this module names is the public API; the test kit is `headway.testing`. Names are loaded when they are first used,
so that a worker need not import the client's libraries, nor the command line either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.client.aio.client import AsyncClient
    from headway.client.aio.handle import AsyncRunHandle
    from headway.client.errors import ConnectionLost, RunFailed, RunTerminated, WaitTimeout
    from headway.client.sync.client import Client
    from headway.client.sync.handle import RunHandle
    from headway.errors import HeadwayError
    from headway.worker.context.context import Context
    from headway.worker.context.current import context
    from headway.worker.context.interrupts import Cancelled, ChildFailed, Fail, RetryLater, StepFailed
    from headway.worker.context.sync_context import SyncContext
    from headway.worker.declaration.app import App
    from headway.worker.declaration.options import Rate, Retention, Retry

__version__ = "0.1.0"

_HOMES = {
    "App": "headway.worker.declaration.app",
    "AsyncClient": "headway.client.aio.client",
    "AsyncRunHandle": "headway.client.aio.handle",
    "Cancelled": "headway.worker.context.interrupts",
    "ChildFailed": "headway.worker.context.interrupts",
    "Client": "headway.client.sync.client",
    "ConnectionLost": "headway.client.errors",
    "Context": "headway.worker.context.context",
    "Fail": "headway.worker.context.interrupts",
    "HeadwayError": "headway.errors",
    "Rate": "headway.worker.declaration.options",
    "Retention": "headway.worker.declaration.options",
    "Retry": "headway.worker.declaration.options",
    "RetryLater": "headway.worker.context.interrupts",
    "RunFailed": "headway.client.errors",
    "RunHandle": "headway.client.sync.handle",
    "RunTerminated": "headway.client.errors",
    "StepFailed": "headway.worker.context.interrupts",
    "SyncContext": "headway.worker.context.sync_context",
    "WaitTimeout": "headway.client.errors",
    "context": "headway.worker.context.current",
}

__all__ = [
    "App",
    "AsyncClient",
    "AsyncRunHandle",
    "Cancelled",
    "ChildFailed",
    "Client",
    "ConnectionLost",
    "Context",
    "Fail",
    "HeadwayError",
    "Rate",
    "Retention",
    "Retry",
    "RetryLater",
    "RunFailed",
    "RunHandle",
    "RunTerminated",
    "StepFailed",
    "SyncContext",
    "WaitTimeout",
    "context",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
