"""The way to the server: the worker protocol as five calls, and its form over HTTP. The test kit has another."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from headway.client.transport import SseStream, Transport
from headway.durations import parse_ms
from headway.wire.workers import ClaimRuns, Lease, Leases, RegisterWorker, Reported, ReportRuns, StopAsked, WorkerOut

REPORT_TIMEOUT_S: Final = 30.0
HEARTBEAT_TIMEOUT_S: Final = 5.0
CLAIM_MARGIN_S: Final = 15.0
"""How much longer than the poll itself its answer may take."""
SILENCE_MAX_S: Final = 20.0
"""The signals stream says `: keepalive` every 5 s; after this much silence it is dead."""


class DrainAsked(msgspec.Struct, frozen=True):
    """The worker is to finish what it has and go."""


Signal = StopAsked | DrainAsked


class Signals(Protocol):
    """An open stream of what the server wants at once; its end means that the connection is gone."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...
    def __iter__(self) -> Iterator[Signal]: ...
    def close(self) -> None:
        """End it, from any thread."""
        ...


class Link(Protocol):
    """The server, as a worker sees it. Calls block, raise HeadwayErrors, and may come from several threads at once."""

    def register(self, worker: RegisterWorker) -> WorkerOut:
        """Begin a session."""
        ...

    def claim(self, wanted: ClaimRuns) -> list[Lease]:
        """Wait for runs to execute."""
        ...

    def report(self, reports: ReportRuns) -> Reported:
        """Say what happened; when this returns it is durable."""
        ...

    def signals(self, worker_id: str) -> Signals:
        """Open the stream of stops and drains."""
        ...

    def drain(self, worker_id: str) -> None:
        """Say that nothing more is to be handed to this worker; a claim that waits comes back."""
        ...

    def close(self) -> None:
        """Break off everything that waits."""
        ...


class HttpLink:
    """The worker protocol over HTTP."""

    def __init__(self, transport: Transport) -> None:
        """Take the connection pool; its credential counts for all calls."""
        self._transport = transport
        self._encode = msgspec.json.Encoder().encode
        self._worker = msgspec.json.Decoder(WorkerOut)
        self._leases = msgspec.json.Decoder(Leases)
        self._reported = msgspec.json.Decoder(Reported)

    def register(self, worker: RegisterWorker) -> WorkerOut:
        """POST /v1/workers."""
        return self._worker.decode(self._transport.call("POST", "/v1/workers", self._encode(worker)))

    def claim(self, wanted: ClaimRuns) -> list[Lease]:
        """POST /v1/leases:claim."""
        timeout_s = parse_ms(wanted.wait) / 1000 + CLAIM_MARGIN_S
        body = self._transport.call("POST", "/v1/leases:claim", self._encode(wanted), timeout_s=timeout_s)
        return self._leases.decode(body).leases

    def report(self, reports: ReportRuns) -> Reported:
        """POST /v1/leases:report."""
        timeout_s = HEARTBEAT_TIMEOUT_S if reports.held is not None else REPORT_TIMEOUT_S
        body = self._transport.call("POST", "/v1/leases:report", self._encode(reports), timeout_s=timeout_s)
        return self._reported.decode(body)

    def signals(self, worker_id: str) -> HttpSignals:
        """GET /v1/workers/{id}/signals."""
        return HttpSignals(self._transport.stream(f"/v1/workers/{worker_id}/signals", timeout_s=SILENCE_MAX_S))

    def drain(self, worker_id: str) -> None:
        """POST /v1/workers/{id}:drain."""
        self._transport.call("POST", f"/v1/workers/{worker_id}:drain", b"{}", timeout_s=HEARTBEAT_TIMEOUT_S)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


class HttpSignals:
    """The signals stream over server-sent events."""

    def __init__(self, stream: SseStream) -> None:
        """Take the open stream."""
        self._stream = stream
        self._decode = msgspec.json.Decoder(StopAsked).decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.__exit__(kind, error, at)

    def __iter__(self) -> Iterator[Signal]:
        for event in self._stream:
            if event.event == "stop":
                yield self._decode(event.data)
            elif event.event == "drain":
                yield DrainAsked()

    def close(self) -> None:
        """End it."""
        self._stream.close()
