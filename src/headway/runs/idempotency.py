"""Idempotency keys: the effect of a request and the memory of its reply are committed together."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Final, TypeVar

import msgspec

from headway.errors import IdempotencyKeyReused
from headway.kernel.namespace import Namespace
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode
_decode_any: Final = msgspec.json.Decoder().decode
_decode: Final = msgspec.json.Decoder(list[str]).decode


class RequestKey(msgspec.Struct):
    """Idempotency key and fingerprint of a request (draft-ietf-httpapi-idempotency-key-header)."""

    key: str
    """The client's key within method and path, so that it may be used for two routes; stored as a qualified name."""
    fingerprint: str
    keep_ms: int
    replayed: bool = False
    """Set when the reply was that of an earlier request."""


def request_key(key: str, method: str, path: str, body: bytes, keep_ms: int) -> RequestKey:
    """Return the key of a request; equal requests have equal fingerprints, however their JSON is written."""
    digest = hashlib.blake2b(b"\0".join((method.encode(), path.encode(), _sorted(body))), digest_size=16).hexdigest()
    return RequestKey(f"{method} {path} {key}", digest, keep_ms)


def _sorted(body: bytes) -> bytes:
    """Return the JSON in a normal form: without white space, escapes, and the order of names."""
    try:
        return _encode_sorted(_decode_any(body)) if body else b""
    except (msgspec.MsgspecError, RecursionError, ValueError):  # a body that cannot be read is refused later
        return body


class Repeatable(Command[T]):
    """A command whose result can be made again from lines that are remembered under an idempotency key."""

    @abstractmethod
    def lines(self, result: T) -> list[str]:
        """Return the lines to remember."""

    @abstractmethod
    def replay(self, uow: UnitOfWork, lines: list[str]) -> T:
        """Return the result of a repeated request from the lines of the first one."""


class Creation(Repeatable[str]):
    """A command whose result is the id of a new object."""

    def lines(self, result: str) -> list[str]:
        """Return the id."""
        return [result]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> str:
        """Return the id."""
        del uow
        return lines[0]


class KeyedCommand(Command[T]):
    """A command under an idempotency key: applied at the first request, replayed at the same one later."""

    def __init__(self, command: Repeatable[T], request: RequestKey, namespace: Namespace) -> None:
        self._command = command
        self._request = request
        self._key = namespace.qualify(request.key)
        self.keys = (self._key,)
        self.run_ids = command.run_ids
        self.grows = command.grows
        self.weight = command.weight

    def apply(self, uow: UnitOfWork) -> T:
        """Return the command's result; raise IdempotencyKeyReused if the key is that of another request.

        An error of the command is not remembered.
        """
        request = self._request
        known = uow.reply(self._key)
        if known is not None:
            fingerprint, reply = known
            if fingerprint != request.fingerprint:
                raise IdempotencyKeyReused
            request.replayed = True
            return self._command.replay(uow, _decode(reply))
        result = self._command.apply(uow)
        reply = _encode(self._command.lines(result)).decode()
        uow.remember(self._key, request.fingerprint, reply, uow.now_ms + request.keep_ms)
        return result


def keyed(command: Repeatable[T], request: RequestKey | None, namespace: Namespace) -> Command[T]:
    """Return the command under the request's idempotency key, if it has one."""
    return command if request is None else KeyedCommand(command, request, namespace)
