"""Signatures of webhooks in the form of Standard Webhooks, and the checks of their secrets and of the headers that users add.

Signed here in two lines: the library `standardwebhooks` signs text only, takes a mistyped secret for another one, and has one
secret at a time. The tests verify with it what a receiver gets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from headway.errors import InvalidInput

HEADERS_MAX: Final = 20
HEADER_VALUE_MAX: Final = 4096
SECRET: Final = "whsec_"  # noqa: S105 - a prefix
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")
_OURS: Final = frozenset({
    "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
    "upgrade", "expect", "cookie", "user-agent", "accept-encoding", "forwarded", "via",
})  # fmt: skip
_OUR_PREFIXES: Final = ("webhook-", "proxy-", "sec-", "x-forwarded-")


def sign(secret: str, message_id: str, at_s: int, body: bytes) -> str:
    """Return the signature of a message in the form of Standard Webhooks: `v1,` and HMAC-SHA-256 in base64.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{message_id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def check_secret(secret: str) -> None:
    """Raise InvalidInput unless it is `whsec_` and 24 to 64 bytes in base64."""
    try:
        fits = secret.startswith(SECRET) and 24 <= len(_key(secret)) <= 64  # noqa: PLR2004 - as the standard has it
    except ValueError:
        fits = False
    if not fits:
        raise InvalidInput("a webhook's secret must be whsec_ and 24 to 64 random bytes in base64")


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise InvalidInput for a header that users cannot set, or with a line break."""
    if len(headers) > HEADERS_MAX:
        raise InvalidInput(f"a webhook can have {HEADERS_MAX} headers of its own at most")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidInput(f"{name[:80]!r} is not the name of a header")
        if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
            raise InvalidInput(f"the header {name} is set by Headway itself")
        if len(value) > HEADER_VALUE_MAX or not _VALUE.fullmatch(value):
            raise InvalidInput(f"the header {name} has a line break or a character that is not ASCII, or is too long")


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET), validate=True)
