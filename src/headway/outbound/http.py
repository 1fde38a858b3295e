"""Calls of webhooks: one signed POST in the form of Standard Webhooks, held to the policy, and to limits of time and size.

A request carries only the headers named here: no redirect is followed, no proxy, cookie or password is taken from the
surroundings. The same message has the same `webhook-id` in every try, so that a receiver can tell a repetition.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from headway import __version__
from headway.outbound.egress import AddressRefused, EgressPolicy, Target
from headway.outbound.failure import SendFailed, shown
from headway.outbound.signing import sign

TIMEOUT_S: Final = 15.0
CONNECT_S: Final = 5.0
ANSWER_MAX: Final = 64 * 1024
"""Maximum number of bytes that are read of an answer; compressed content is not unpacked."""
AFTER_MAX_MS: Final = 3_600_000

_RETRIED: Final = frozenset({408, 425, 429})


class Answer(msgspec.Struct, frozen=True):
    """Answer of a receiver."""

    status: int
    size: int
    """Number of bytes that were read."""


class Caller:
    """Calls webhooks, over connections that are kept."""

    def __init__(
        self, policy: EgressPolicy, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` holds the trusted certificates, in place of the system's."""
        self._policy = policy
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_S, timeout_s), ceil_threshold=1e9
        )
        self._tls: ssl.SSLContext | bool = tls or True
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def post(
        self,
        target: Target,
        body: bytes,
        *,
        message_id: str,
        at_s: int,
        secrets: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send the message; return the answer if it is a 2xx, raise SendFailed if not. Takes no longer than the timeout."""
        assert target.url is not None
        sent = dict(headers or {})
        sent |= {
            "Content-Type": "application/json",
            "User-Agent": f"Headway/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(at_s),
        }
        if secrets:
            sent["webhook-signature"] = " ".join(sign(secret, message_id, at_s, body) for secret in secrets)
        session = self._session(trusted=target.trusted)
        host = target.host
        try:
            async with session.post(target.url, data=body, headers=sent, allow_redirects=False) as answer:
                seen = b""
                while len(seen) < ANSWER_MAX and (piece := await answer.content.readany()):
                    seen += piece
                if not answer.content.at_eof():
                    answer.close()  # the rest is not waited for
                status, size = answer.status, len(seen)
                after_ms = _after_ms(answer.headers.get("Retry-After", ""))
                words = "" if target.trusted else shown(seen[:1024].decode("utf-8", "replace"))
        except TimeoutError:
            raise _unreachable("timeout", f"{host} did not answer within {self._timeout.total:g} s") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise SendFailed(
                    "target_refused",
                    f"{host} leads to an address that is not public",
                    retryable=False,
                    unreachable=True,
                ) from None
            raise _unreachable("unreachable", f"{host} cannot be reached: {_why(error)}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable("broken_answer", f"{host} gave no answer that can be read: {_why(error)}") from None
        if not 200 <= status < 300:  # noqa: PLR2004 - the successes
            raise _refused(host, status, words, after_ms)
        return Answer(status, size)

    def _session(self, *, trusted: bool) -> aiohttp.ClientSession:
        """Return the session for such targets: an address is vetted for its kind, and so are connections that are kept."""
        if trusted not in self._sessions:
            self._sessions[trusted] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_Resolver(self._policy),
                    limit=0,  # how much is under way is bounded by who sends
                    socket_factory=self._policy.sockets(trusted=trusted),
                    ssl=self._tls,
                    happy_eyeballs_delay=None,
                ),
                timeout=self._timeout,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "Accept"),
                read_bufsize=ANSWER_MAX,
            )
        return self._sessions[trusted]

    async def close(self) -> None:
        """Let go of every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


class _Resolver(AbstractResolver):
    """Resolver of aiohttp that asks the policy's."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses; the policy's sockets refuse forbidden ones."""
        return [
            ResolveResult(
                hostname=host, host=info[4][0], port=port, family=info[0], proto=info[2], flags=socket.AI_NUMERICHOST
            )
            for info in await self._policy.resolve(host, port)
            if family in {socket.AF_UNSPEC, info[0]}
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds no resources."""


def _unreachable(code: str, message: str) -> SendFailed:
    return SendFailed(code, message, retryable=True, unreachable=True)


def _refused(host: str, status: int, words: str, after_ms: int | None) -> SendFailed:
    said = f"{host} answered {status}" + (f": {words}" if words else "")
    if 300 <= status < 400:  # noqa: PLR2004 - the redirects
        said = f"{host} answered {status}; redirects are not followed, name where it leads"
    retryable = status >= 500 or status in _RETRIED  # noqa: PLR2004 - the server's own failures
    return SendFailed(f"http_{status}", said, retryable=retryable, after_ms=after_ms)


def _after_ms(text: str) -> int | None:
    """Read Retry-After in seconds; dates are not waited for."""
    return min(int(text) * 1000, AFTER_MAX_MS) if text.isascii() and text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004


def _why(error: Exception) -> str:
    """Return the reason without addresses: where a name leads inside is not the caller's to know."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS as it should"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name does not resolve"
    if isinstance(cause, OSError) and cause.errno is not None:
        return os.strerror(cause.errno).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "it does not speak HTTP as it should"
    return type(error).__name__
