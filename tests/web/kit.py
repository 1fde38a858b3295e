"""A service with the API over it, and a client that speaks ASGI: no sockets, no sleeps. Without a store it is in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from headway.clock import ManualClock
from headway.config import Settings
from headway.errors import MethodNotAllowed, RouteNotFound, Unavailable
from headway.features.access.access import Access
from headway.ids import Signer
from headway.protocol import workers as wire
from headway.runs.service import Service
from headway.server import FEATURES, NATIVE_SURFACE
from headway.store.sqlite.open import open_memory
from headway.store.store import Store
from headway.surfaces import plugged
from headway.web.asgi import Api
from headway.web.openapi import codes_of
from headway.web.surface import mount

OTHERS = plugged()
EVERY_SURFACE = (NATIVE_SURFACE, *OTHERS)
JSON = {"content-type": "application/json"}
NOBODY = "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81"


def routes_of(surfaces=OTHERS):
    """The routes of surfaces with their default settings."""
    return tuple(route for each in mount(surfaces, Settings()) for route in each.routes)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]


class Server:
    """The API, what is under it, and what drives runs through their states."""

    def __init__(
        self, store: Store | None = None, speaks: Any = EVERY_SURFACE, features: Any = FEATURES, **settings: Any
    ) -> None:
        self.store = store or open_memory(ManualClock())
        self.clock = self.store.clock
        self.service = Service(self.store, Signer(b"x" * 32), Settings(**settings), features=features)
        self.api = Api(self.service, speaks, version="0")
        self.worker = ""

    async def ask(self, method, target, body=None, *, chunks=None, **headers) -> Answer:
        """Send a request; a body that is not bytes goes as JSON. Header names have underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None or chunks is not None:
            sent = {**JSON, **sent}
        if chunks is None:
            chunks = [body or b""]
            if body is not None:
                sent.setdefault("content-length", str(len(body)))
        return await exchange(self.api, method, target, chunks, sent)

    async def get(self, target, **headers) -> Answer:
        return await self.ask("GET", target, **headers)

    async def post(self, target, body=None, **headers) -> Answer:
        return await self.ask("POST", target, body, **headers)

    async def declare(self, *tasks: str, **options: Any) -> str:
        """Register a worker with the tasks; the last one registered drives runs."""
        declarations = [wire.TaskDeclaration(name=name, **options) for name in tasks]
        asked = wire.RegisterWorker(name="w", tasks=declarations)
        worker = await self.service.of(1).workers.register(asked, built_in=True)
        self.worker = worker.id
        return worker.id

    async def start(self, task="backup", **spec) -> str:
        answer = await self.post("/v1/runs", {"task": task, **spec})
        assert answer.status in (200, 202), answer.body
        return answer.json["id"]

    async def claim(self) -> list[wire.Lease]:
        return await self.service.of(1).workers.claim(wire.ClaimRuns(worker_id=self.worker, max=100))

    async def report(self, *reports) -> wire.ReportAnswer:
        return await self.service.of(1).workers.report(wire.ReportRuns(worker_id=self.worker, reports=list(reports)))

    async def running(self, **spec) -> str:
        run_id = await self.start(**spec)
        await self.claim()
        return run_id

    async def succeed(self, run_id, output=b"null") -> None:
        run = await self.service.of(1).runs.get(run_id)
        done = wire.SucceededReport(run_id=run_id, epoch=run.epoch, output=msgspec.Raw(output))
        assert not (await self.report(done)).rejected

    async def fail(self, run_id) -> None:
        run = await self.service.of(1).runs.get(run_id)
        error = wire.FunctionError(message="no", retryable=False)
        assert not (await self.report(wire.ErroredReport(run_id=run_id, epoch=run.epoch, error=error))).rejected

    async def finished(self, output=b"null", **spec) -> str:
        run_id = await self.running(**spec)
        await self.succeed(run_id, output)
        return run_id

    async def log(self, run_id, message) -> None:
        run = await self.service.of(1).runs.get(run_id)
        await self.report(wire.LogReport(run_id=run_id, epoch=run.epoch, message=message))

    async def things(self, spec) -> dict[str, str]:
        """Make a table with one record, and a file; return how paths name them."""
        table = await self.post("/v1/tables", {**spec, "name": "things"})
        record = await self.post(
            "/v1/tables/things/records", {"values": {"Name": "first", "E-mail": "first@example.com"}}
        )
        assert (table.status, record.status) == (201, 201), record.body
        await self.declare("headway.import", "headway.export")
        file = await self.ask("POST", "/v1/files?name=a.csv", b"Name\nsecond\n", content_type="text/csv")
        return {"table": "things", "field": "Name", "record": record.json["id"], "file": file.json["id"]}

    def listen(self, target, **headers) -> Listener:
        return Listener(self.api, target, headers)


@asynccontextmanager
async def serving(
    *tasks: str, store: Store | None = None, speaks: Any = EVERY_SURFACE, features: Any = FEATURES, **settings: Any
) -> AsyncIterator[Server]:
    """A server whose worker has the tasks (`backup`, if none are named)."""
    server = Server(store, speaks, features, **settings)
    server.store.start()
    await server.service.servers.join()
    await server.service.part(Access).load()
    await server.declare(*(tasks or ("backup",)))
    try:
        yield server
    finally:
        await server.service.gateway.close()
        await server.store.close()


def from_here(api):
    """The API as programs on this machine ask it, wherever a client says that it is."""

    async def asked(scope, receive, send):
        if scope["type"] == "http":
            others = [header for header in scope["headers"] if header[0] != b"host"]
            scope = {**scope, "client": ("127.0.0.1", 50_000), "headers": [(b"host", b"localhost"), *others]}
        await api(scope, receive, send)

    return asked


def scope_of(method, target, headers):
    path, _, query = target.partition("?")
    fields = {"host": "localhost:8006", **headers}
    return {
        "type": "http",
        "client": (fields.pop("peer", "127.0.0.1"), 50_000),
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items() if value is not None],
    }


async def exchange(api, method, target, chunks=(b"",), headers=None) -> Answer:
    """Send one request in pieces; a client that has nothing more to say stays connected."""
    sent, left = [], list(chunks)

    async def receive():
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    await api(scope_of(method, target, headers or {}), receive, send)
    body = b"".join(message["body"] for message in sent[1:])
    fields = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    answer = Answer(sent[0]["status"], fields, body)
    check_declared(api, method, target, answer)
    return answer


def check_declared(api, method, target, answer):
    """Fail for an error that the route does not declare, so that its document would not have it."""
    if answer.headers.get("content-type") != "application/problem+json" or not answer.body or not isinstance(api, Api):
        return
    with suppress(RouteNotFound, MethodNotAllowed):
        route = api.router.find(method, target.partition("?")[0].encode())[0].route
        unavailable = answer.status == Unavailable.status  # of the store, on every route
        assert unavailable or answer.code in codes_of(route), f"{route.name} does not declare {answer.code}"


@dataclass
class Message:
    event: str
    data: Any
    id: str | None


class Listener:
    """An open stream, read event by event."""

    def __init__(self, api, target, headers) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = b""
        self.comments = 0
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._begun = asyncio.Event()
        self._asked = False
        sent = {"accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._task = asyncio.ensure_future(api(scope_of("GET", target, sent), self._receive, self._send))
        self._task.add_done_callback(lambda _: (self._begun.set(), self._messages.put_nowait(None)))
        self._rest = b""

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self._begun.set()
        self.text += message["body"]
        *whole, self._rest = (self._rest + message["body"]).split(b"\n\n")
        for block in whole:
            self._take(block.decode())

    def _take(self, block) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        self.comments += block.startswith(":")
        if "data" in fields:
            data = json.loads(fields["data"])
            self._messages.put_nowait(Message(fields.get("event", "message"), data, fields.get("id")))

    async def begun(self) -> Listener:
        await self._begun.wait()
        return self

    async def next(self) -> Message | None:
        """Return the next event, or None when the stream is over."""
        return await self._messages.get()

    async def rest(self) -> list[Message]:
        """Return everything until the stream is over."""
        found = []
        while (message := await self.next()) is not None:
            found.append(message)
        return found

    async def until(self, event) -> list[Message]:
        found = []
        while (message := await self.next()) is not None:
            found.append(message)
            if message.event == event:
                return found
        raise AssertionError(f"no {event} among {found}")

    async def leave(self) -> None:
        self._gone.set()
        await self._task
