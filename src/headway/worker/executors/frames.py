"""Messages between a worker and its child processes: length-prefixed JSON over a socket pair. No pickle."""

from __future__ import annotations

import select
import socket
import struct
import threading
from typing import Final

import msgspec

from headway.protocol.workers import AnyReport, Lease, Reply
from headway.worker.context.interrupts import Cause

_LENGTH: Final = struct.Struct("!I")
FRAME_BYTES_MAX: Final = 256 << 20
SEND_TIMEOUT_S: Final = 10.0


class ExecuteFrame(msgspec.Struct, frozen=True, tag="execute"):
    """Message to the child: carry this lease to its outcome."""

    lease: Lease


class ReplyFrame(msgspec.Struct, frozen=True, tag="answered"):
    """Message to the child: the reply to a numbered report. `code` is that of a HeadwayError, empty if it was taken."""

    number: int
    reply: Reply | None = None
    code: str = ""
    detail: str = ""


class CancelFrame(msgspec.Struct, frozen=True, tag="cancel"):
    """Message to the child: cancel the function."""

    cause: Cause


class LoadFrame(msgspec.Struct, frozen=True, tag="ready"):
    """Message from the child: the app is loaded. Or not, and `problem` says why."""

    problem: str = ""


class ReportFrame(msgspec.Struct, frozen=True, tag="told"):
    """Message from the child: a report; `number` is not 0 if it waits for a reply."""

    report: AnyReport
    number: int = 0


class OutcomeFrame(msgspec.Struct, frozen=True, tag="done"):
    """Message from the child: the attempt is over; no outcome means that its lease was lost."""

    outcome: AnyReport | None


FrameToChild = ExecuteFrame | ReplyFrame | CancelFrame
FrameFromChild = LoadFrame | ReportFrame | OutcomeFrame


class Pipe:
    """One end of the socket pair: whole frames out from any thread, whole frames in from one."""

    def __init__(self, end: socket.socket) -> None:
        """Own the socket from now on."""
        self._socket = end
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode
        self._received = bytearray()

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, frame: msgspec.Struct) -> None:
        """Send a frame; raise OSError if the other end is gone or does not read."""
        body = self._encode(frame)
        with self._lock:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> bytes | None:
        """Wait for the next frame; None at the end."""
        while (frame := self._next()) is None:
            if not self.read_some():
                return None
        return frame

    def read_some(self, *, wait: bool = True) -> bool:
        """Take in what has arrived; return False at the end, or if nothing is there and it is not to wait."""
        try:
            if not wait and not self._readable():  # MSG_DONTWAIT is no help: a socket with a timeout waits for it first
                return False
            chunk = self._socket.recv(262_144)
        except OSError:
            return False
        self._received += chunk
        return bool(chunk)

    def _readable(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def frames(self) -> list[bytes]:
        """Return the whole frames taken in so far."""
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _next(self) -> bytes | None:
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > FRAME_BYTES_MAX:
            raise OSError(f"a frame of {length} bytes")
        end = _LENGTH.size + length
        if len(self._received) < end:
            return None
        frame = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return frame
