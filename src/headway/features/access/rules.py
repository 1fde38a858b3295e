"""Access decisions: validity of keys, rotation of secrets, and the hash chain of the audit log.

Pure functions: the time is an argument, keys and secrets come as they are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from headway.features.access.model import AuditEvent, Key, Secret, User
from headway.kernel.organisation import Organisation

LIVE_MAX: Final = 2
"""Maximum number of valid secrets of a key."""

Fault = Literal["revoked", "expired", "user_disabled", "organisation_disabled"]
"""Reasons to refuse a key that was presented with a right secret."""

_encode: Final = msgspec.json.Encoder().encode


# -- keys --------------------------------------------------------------------------------------------------------------


def fault(key: Key, user: User | None, organisation: Organisation | None, now_ms: int) -> Fault | None:
    """Return the reason to refuse the key, or None. An unknown user or organisation is one."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now_ms:
        return "expired"
    if key.user_id is not None and (user is None or user.state != "active"):
        return "user_disabled"
    if organisation is None or organisation.state != "active":
        return "organisation_disabled"
    return None


def is_live(secret: Secret, now_ms: int) -> bool:
    """Whether a secret is valid."""
    return secret.until is None or now_ms < secret.until


def rotated(secrets: Iterable[Secret], key_id: str, digest: str, overlap_ms: int, now_ms: int) -> list[Secret]:
    """Return the secrets after a rotation: the new one, and the last one until the overlap ends.

    Secrets left by an earlier rotation end now, so that at most two are valid.
    """
    known = sorted(secrets, key=lambda secret: secret.number)
    last = known[-1].number if known else 0
    kept = [secret for secret in known if secret.number == last and is_live(secret, now_ms)]
    new = Secret(key_id=key_id, number=last + 1, digest=digest, created_at=now_ms, until=None)
    if overlap_ms <= 0:
        return [new]
    return [*(msgspec.structs.replace(secret, until=now_ms + overlap_ms) for secret in kept), new]


# -- the log -----------------------------------------------------------------------------------------------------------

GENESIS: Final = ""
"""Hash before the first entry of the log."""


def chained(event: AuditEvent, before: str) -> AuditEvent:
    """Return the event with its hash: SHA-256 over the previous hash and every field of this event."""
    fields = [getattr(event, name) for name in AuditEvent.__struct_fields__ if name != "hash"]
    return msgspec.structs.replace(event, hash=hashlib.sha256(_encode([before, *fields])).hexdigest())


class Head(msgspec.Struct, frozen=True, array_like=True):
    """End of the log, stored apart from it, so that removed last entries are detected."""

    number: int = 0
    hash: str = GENESIS


def breaks(lines: Iterable[AuditEvent], head: Head, sealed: Head | None = None) -> Iterable[tuple[int, str]]:
    """Yield (number, fault) of a log that was tampered with: entries changed, removed, inserted or cut off.

    `sealed` is the end of the log when a server sealed it last: a forged log does not have that entry.
    """
    number, before = 0, GENESIS
    for line in lines:
        if line.number != number + 1:
            yield line.number, f"it follows line {number}: lines are missing or were inserted"
        elif chained(line, before).hash != line.hash:
            yield line.number, "it is not what was written, or does not follow the line before"
        number, before = line.number, line.hash
        if sealed is not None and number == sealed.number and before != sealed.hash:
            yield number, "it is not the line that a server has sealed: the log was written anew"
    if sealed is not None and number < sealed.number:
        yield sealed.number, f"a server has sealed the log with this line, and it ends with {number} now"
    if (number, before) != (head.number, head.hash):
        yield head.number, f"the log ended with this line, and ends with {number} now"
