"""The embedded server on a real socket, and clients that write to it byte by byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from headway.clock import SystemClock
from headway.config import Settings
from headway.features.access.access import Access
from headway.ids import Signer
from headway.protocol import workers as wire
from headway.runs.service import Service
from headway.server import FEATURES, NATIVE_SURFACE
from headway.store.sqlite.open import open_file, open_memory
from headway.web.asgi import Api
from headway.web.listening import listen
from headway.web.server import Duties, serve_http


class Serving:
    def __init__(self, service, api, port, stop, task):
        self.service, self.api, self.port, self.stop, self.task = service, api, port, stop, task

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        reader, writer = await self.connect()
        writer.write(data)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    async def request(self, method, path, body=b"", headers="") -> tuple[int, bytes]:
        answer = await self.raw(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
            + body
        )
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), content


@asynccontextmanager
async def serving(on_drain=None, *, path=None, store=None, **options):
    settings = Settings(**options)
    if store is None:
        store = open_memory(SystemClock()) if path is None else open_file(path, SystemClock(), reserve_bytes=0)
    store.start()
    service = Service(store, Signer(b"x" * 32), settings, features=FEATURES)
    await service.of(1).workers.register(wire.RegisterWorker(tasks=[wire.TaskDeclaration(name="backup")]))
    await service.part(Access).load()
    api = Api(service, (NATIVE_SURFACE,))
    (opened,) = listen("127.0.0.1", 0)
    port = opened.getsockname()[1]
    stop = asyncio.Event()
    duties = Duties(on_drain=on_drain or (lambda: None))
    task = asyncio.ensure_future(serve_http(api, settings, [opened], duties, stop))
    try:
        yield Serving(service, api, port, stop, task)
    finally:
        stop.set()
        await task
        await service.gateway.close()
        await store.close()
