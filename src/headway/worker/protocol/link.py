"""The way to the servers: the worker protocol as five calls, and its form over HTTP. The test kit has another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import msgspec
from msgspec.structs import replace

from headway.client.errors import ConnectionLost
from headway.client.servers import Servers
from headway.client.transport import SseStream, Transport
from headway.durations import parse_ms
from headway.errors import HeadwayError
from headway.protocol.workers import (
    ClaimRuns,
    Lease,
    Leases,
    RegisterWorker,
    ReportAnswer,
    ReportRuns,
    StopSignal,
    WorkerOut,
)

T = TypeVar("T")
REPORT_TIMEOUT_S: Final = 30.0
HEARTBEAT_TIMEOUT_S: Final = 5.0
"""Longest timeout of a heartbeat, in seconds; half a lease if that is less, to send another before the lease ends."""
CLAIM_MARGIN_S: Final = 15.0
"""Time in seconds that the answer to a poll may take beyond the poll itself."""
SILENCE_MAX_S: Final = 20.0
"""The signals stream says `: keepalive` every 5 s; after this much silence it is dead."""


class DrainSignal(msgspec.Struct, frozen=True):
    """The worker has to finish its runs and end."""


Signal = StopSignal | DrainSignal


class SignalStream(Protocol):
    """An open stream of what the server wants at once; its end means that the connection is gone."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...
    def __iter__(self) -> Iterator[Signal]: ...
    def close(self) -> None:
        """End the stream, from any thread."""
        ...


class Link(Protocol):
    """The server, as a worker sees it. Calls block, raise HeadwayErrors, and may come from several threads at once."""

    def register(self, worker: RegisterWorker) -> WorkerOut:
        """Begin a session."""
        ...

    def claim(self, wanted: ClaimRuns, number: Callable[[], int]) -> list[Lease]:
        """Wait for runs to execute. Each time that it is sent it has a `number` of its own."""
        ...

    def report(self, reports: ReportRuns) -> ReportAnswer:
        """Send reports, which are durable when the call returns."""
        ...

    def signals(self, worker_id: str) -> SignalStream:
        """Open the stream of stops and drains."""
        ...

    def drain(self, worker_id: str) -> None:
        """Say that nothing more is to be handed to this worker; a claim that waits comes back."""
        ...

    def close(self) -> None:
        """Break off everything that waits."""
        ...


class HttpLink:
    """The worker protocol over HTTP, with one of several servers on one store.

    All threads of the worker speak with the same server. When it fails one of them, they all move to the next: each
    call asks every server once before it gives up, what waits at the one that was left is broken off, and the signals
    stream ends, to be opened again where the others are. A repeated report changes nothing, since its epoch fences it.
    """

    def __init__(self, *servers: Transport) -> None:
        """Take a connection pool for each server, which has the credential."""
        self._servers = Servers(servers, left=self._left)
        self._stream: HttpSignalStream | None = None
        self._heartbeat_s = HEARTBEAT_TIMEOUT_S
        self._encode = msgspec.json.Encoder().encode
        self._worker = msgspec.json.Decoder(WorkerOut)
        self._leases = msgspec.json.Decoder(Leases)
        self._reported = msgspec.json.Decoder(ReportAnswer)

    def register(self, worker: RegisterWorker) -> WorkerOut:
        """POST /v1/workers."""
        known = self._worker.decode(self._call("/v1/workers", self._encode(worker)))
        self._heartbeat_s = min(HEARTBEAT_TIMEOUT_S, known.lease_ms / 2000)
        return known

    def claim(self, wanted: ClaimRuns, number: Callable[[], int]) -> list[Lease]:
        """POST /v1/leases:claim."""
        timeout_s = parse_ms(wanted.wait) / 1000 + CLAIM_MARGIN_S

        def ask(server: Transport) -> bytes:
            body = self._encode(replace(wanted, number=number()))
            return server.call("POST", "/v1/leases:claim", body, timeout_s=timeout_s)

        return self._leases.decode(self._ask(ask)).leases

    def report(self, reports: ReportRuns) -> ReportAnswer:
        """POST /v1/leases:report."""
        timeout_s = self._heartbeat_s if reports.held is not None else REPORT_TIMEOUT_S
        body = self._call("/v1/leases:report", self._encode(reports), timeout_s=timeout_s)
        return self._reported.decode(body)

    def signals(self, worker_id: str) -> HttpSignalStream:
        """GET /v1/workers/{id}/signals."""
        return self._ask(lambda server: self._listen(server, f"/v1/workers/{worker_id}/signals"))

    def drain(self, worker_id: str) -> None:
        """POST /v1/workers/{id}:drain."""
        self._call(f"/v1/workers/{worker_id}:drain", b"{}", timeout_s=HEARTBEAT_TIMEOUT_S)

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers:
            server.close()

    def _call(self, path: str, body: bytes, *, timeout_s: float | None = None) -> bytes:
        return self._ask(lambda server: server.call("POST", path, body, timeout_s=timeout_s))

    def _ask(self, ask: Callable[[Transport], T]) -> T:
        """Ask the server; if it fails, the others, each once."""
        tries = self._servers.round()
        while True:
            try:
                return ask(tries.server())
            except HeadwayError as error:
                if not tries.failed(error):
                    raise

    def _listen(self, server: Transport, path: str) -> HttpSignalStream:
        stream = server.stream(path, timeout_s=SILENCE_MAX_S)
        self._stream = HttpSignalStream(stream, lambda why: self._servers.leave(server, why))
        if self._servers.current is not server:  # closed while this was being opened: end the new connection here
            self._stream.close()
        return self._stream

    def _left(self, server: Transport, why: HeadwayError | None) -> None:
        """Bring the other threads along. A server that still answers may answer them; of one that does not, all is cut."""
        if isinstance(why, ConnectionLost):
            server.hang_up()
        if self._stream is not None:
            self._stream.close()


class HttpSignalStream:
    """The signals stream over server-sent events."""

    def __init__(self, stream: SseStream, broke: Callable[[HeadwayError | None], None]) -> None:
        """Take the open stream; call `broke` when it ends without `close`."""
        self._stream = stream
        self._broke = broke
        self._closed = False
        self._decode = msgspec.json.Decoder(StopSignal).decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.__exit__(kind, error, at)

    def __iter__(self) -> Iterator[Signal]:
        why: HeadwayError | None = None
        try:
            for event in self._stream:
                if event.event == "stop":
                    yield self._decode(event.data)
                elif event.event == "drain":
                    yield DrainSignal()
        except ConnectionLost as error:
            why = error
        if not self._closed:
            self._broke(why)

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._stream.close()
