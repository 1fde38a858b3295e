"""Access: users, keys, request limits, and the audit log."""

from __future__ import annotations

import msgspec


class Allowance(msgspec.Struct, frozen=True):
    """Request limits of all keys of an organisation together; None: unlimited. Fields in the order of the columns."""

    organisation: int
    per_minute: int | None = None
    per_day: int | None = None


class User(msgspec.Struct, frozen=True):
    """A person with keys, which work while the user is active. Fields in the order of the columns."""

    id: str
    organisation: int
    name: str
    email: str
    state: str
    """active, disabled."""
    created_at: int
    updated_at: int


class Key(msgspec.Struct, frozen=True):
    """An API key. Fields in the order of the columns."""

    id: str
    """Public id; part of lists, logs and the key's text."""
    organisation: int
    user_id: str | None
    name: str
    scopes: str
    """A JSON list."""
    queues: str | None
    """JSON list of the queues from which a worker's key may claim; None: all of its organisation."""
    per_minute: int | None
    per_day: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    """Time of the last use, to about a minute, for people."""


class Secret(msgspec.Struct, frozen=True):
    """Secret of a key; during a rotation a key has two valid ones. Fields in the order of the columns."""

    key_id: str
    number: int
    digest: str
    created_at: int
    until: int | None
    """End of validity; None: the key's."""


class Usage(msgspec.Struct, frozen=True):
    """Count of requests in a window of time. Fields in the order of the columns."""

    subject: str
    period: int
    started_at: int
    server_id: str
    count: int


class AuditEvent(msgspec.Struct, frozen=True):
    """Entry of the audit log: names of objects, none of their content. Fields in the order of the columns."""

    number: int
    time: int
    organisation: int
    actor: str
    key_id: str
    ip: str
    agent: str
    action: str
    object: str
    outcome: str
    request_id: str
    hash: str
    """SHA-256 of this entry and the hash of the previous one."""
