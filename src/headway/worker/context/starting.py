"""Starting a task by its own function, `greet.start(who="you")`: by the client that the environment names, or as a child.

A client is made when it is first needed and kept: one for a process, and for async code one for each event loop, which
is closed with its loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import Any, Final

from headway.client import credential, servers
from headway.client.aio.client import AsyncClient
from headway.client.aio.handle import AsyncRunHandle
from headway.client.encoding import DeclaredTask
from headway.client.sync.client import Client
from headway.client.sync.handle import RunHandle
from headway.worker.context.child_runs import StartOptions
from headway.worker.context.context import ChildRun, Context
from headway.worker.context.plans import current
from headway.worker.context.sync_context import SyncChildRun, SyncContext

_OF_CHILDREN: Final = frozenset(StartOptions.__struct_fields__)
_OF_CLIENTS: Final = frozenset(
    {"run_at", "dedupe", "protect", "parent_id", "retention", "validate_only", "idempotency_key"}
)
_Named = tuple[int, str, str | None]
"""An event loop, servers, and the key."""
_kept: Final[dict[_Named, tuple[AsyncClient, AsyncGenerator[None, None]]]] = {}
"""The async clients, and what closes each."""


def start(task: DeclaredTask, values: Mapping[str, Any] | None, options: dict[str, Any]) -> RunHandle | SyncChildRun:
    """Start a run; inside one, a child of it. Raises RuntimeError inside an async task, whose calls are awaited."""
    match current.get():
        case Context():
            raise RuntimeError(f"an async task awaits its children: await {task.name}.start_async(…)")
        case SyncContext() as context:
            start_options, fields = _as_child(task, values, options)
            return context.start(task, None, start_options, **fields)
    urls = ",".join(servers.urls())
    return _client(os.getpid(), urls, credential.key()).runs.start(task, values, **options)


async def start_async(
    task: DeclaredTask, values: Mapping[str, Any] | None, options: dict[str, Any]
) -> AsyncRunHandle | ChildRun:
    """Start a run; inside one, a child of it. Raises RuntimeError inside a plain task, which cannot await."""
    match current.get():
        case SyncContext():
            raise RuntimeError(f"a plain task does not await: {task.name}.start(…)")
        case Context() as context:
            start_options, fields = _as_child(task, values, options)
            return await context.start(task, None, start_options, **fields)
    client = await _async_client(",".join(servers.urls()), credential.key())
    return await client.runs.start(task, values, **options)


def _as_child(
    task: DeclaredTask, values: Mapping[str, Any] | None, options: dict[str, Any]
) -> tuple[StartOptions, dict[str, Any]]:
    if unknown := sorted(options.keys() & _OF_CLIENTS):
        raise TypeError(
            f"{task.name}: a child run has no {', '.join(unknown)}; these are for runs started from outside"
        )
    of_children = {name: value for name, value in options.items() if name in _OF_CHILDREN and value is not None}
    fields = {name: value for name, value in options.items() if name not in _OF_CHILDREN}
    return StartOptions(**of_children), {**(values or {}), **fields}


@lru_cache(maxsize=16)
def _client(process: int, urls: str, key: str | None) -> Client:  # noqa: ARG001 - a process that was forked makes its own
    client = Client(urls, key=key)
    atexit.register(client.close)
    return client


async def _async_client(urls: str, key: str | None) -> AsyncClient:
    named = (id(asyncio.get_running_loop()), urls, key)
    if named not in _kept:
        client = AsyncClient(urls, key=key)
        _kept[named] = client, _closing(named, client)
        await anext(_kept[named][1])
    return _kept[named][0]


async def _closing(named: _Named, client: AsyncClient) -> AsyncGenerator[None, None]:
    """Close the client at the end of its loop, which also closes its async generators."""
    try:
        yield
    finally:
        del _kept[named]
        await client.close()
