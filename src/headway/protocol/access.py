"""Organisations, users, keys and the audit log in the HTTP API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from headway.protocol.runs import Duration, Id, Name, Open, Strict, Text, Timestamp

PerMinute = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PerDay = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Zone = Annotated[str, Meta(min_length=1, max_length=100, examples=["Europe/Vienna"])]
Email = Annotated[
    str, Meta(max_length=254, pattern=r"^([^\x00-\x20\x7f@]+@[^\x00-\x20\x7f@]+)?$", examples=["ada@example.org"])
]
ScopeName = Annotated[str, Meta(min_length=1, max_length=40, examples=["run:read"])]
StateOfUse = Literal["active", "disabled"]


class CreateKey(Strict, frozen=True, kw_only=True):
    """POST /v1/keys."""

    name: Name
    scopes: Annotated[list[ScopeName], Meta(max_length=100)] | None = None
    """Scopes of the key; default: the reading scopes. A caller can grant only scopes of its own."""
    queues: Annotated[list[Name], Meta(min_length=1, max_length=1000)] | None = None
    """Queues from which a worker's key may claim; default: all of its organisation."""
    user_id: Id | None = None
    """User of the key; the key works only while the user is active."""
    expires_in: Duration | None = None
    """Validity of the key; default: until it is revoked."""
    per_minute: PerMinute | None = None
    per_day: PerDay | None = None
    organisation: Id | None = None
    """Id of another organisation; needs organisation:admin of the first one."""


class PatchKey(Strict, frozen=True, kw_only=True):
    """PATCH /v1/keys/{id}; absent members stay."""

    name: Name | UnsetType = UNSET
    scopes: Annotated[list[ScopeName], Meta(max_length=100)] | UnsetType = UNSET
    per_minute: PerMinute | UnsetType | None = UNSET
    """null: the server's default."""
    per_day: PerDay | UnsetType | None = UNSET


class RotateKey(Strict, frozen=True, kw_only=True):
    """POST /v1/keys/{id}:rotate."""

    overlap: Duration = "24h"
    """Time for which the last secret stays valid beside the new one; "0s" ends it now."""


class SecretOut(Open, frozen=True, kw_only=True):
    """Secret of a key, without its text."""

    number: int
    created_at: Timestamp
    expires_at: Timestamp | None
    """End of validity, if before the key's."""


class KeyOut(Open, frozen=True, kw_only=True):
    """A key as the API shows it, without its secret."""

    id: str
    object: str = "key"
    organisation: str
    user_id: str | None
    name: str
    scopes: list[str]
    queues: list[str] | None
    per_minute: int | None
    """null: the server's default."""
    per_day: int | None
    state: Literal["active", "revoked", "expired"]
    secrets: list[SecretOut]
    """Valid secrets."""
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None
    """Time of the last use, to about a minute."""
    url: str
    key: str | None = None
    """The whole key, only in the first answer to the request that makes it or rotates its secret."""


class KeyList(Open, frozen=True, kw_only=True):
    """GET /v1/keys."""

    data: list[KeyOut]


class CreateUser(Strict, frozen=True, kw_only=True):
    """POST /v1/users."""

    name: Name
    email: Email = ""


class PatchUser(Strict, frozen=True, kw_only=True):
    """PATCH /v1/users/{id}; absent members stay."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    state: StateOfUse | UnsetType = UNSET
    """Keys of a disabled user are refused."""


class UserOut(Open, frozen=True, kw_only=True):
    """A user as the API shows them."""

    id: str
    object: str = "user"
    organisation: str
    name: str
    email: str
    state: StateOfUse
    created_at: Timestamp
    updated_at: Timestamp
    url: str


class UserList(Open, frozen=True, kw_only=True):
    """GET /v1/users."""

    data: list[UserOut]


class CreateOrganisation(Strict, frozen=True, kw_only=True):
    """POST /v1/organisations."""

    name: Name
    zone: Zone = "UTC"
    """Time zone of its schedules and of times without one."""
    per_minute: PerMinute | None = None
    """Limit of requests of all its keys together; default: none."""
    per_day: PerDay | None = None


class PatchOrganisation(Strict, frozen=True, kw_only=True):
    """PATCH /v1/organisations/{id}; absent members stay."""

    name: Name | UnsetType = UNSET
    zone: Zone | UnsetType = UNSET
    per_minute: PerMinute | UnsetType | None = UNSET
    per_day: PerDay | UnsetType | None = UNSET
    state: StateOfUse | UnsetType = UNSET
    """Keys of a disabled organisation are refused; runs in progress go on."""


class OrganisationOut(Open, frozen=True, kw_only=True):
    """An organisation as the API shows it."""

    id: str
    object: str = "organisation"
    name: str
    zone: str
    per_minute: int | None
    per_day: int | None
    state: StateOfUse
    created_at: Timestamp
    url: str


class OrganisationList(Open, frozen=True, kw_only=True):
    """GET /v1/organisations."""

    data: list[OrganisationOut]


class LimitOut(Open, frozen=True, kw_only=True):
    """Requests left until the next full minute, or day (UTC)."""

    limit: int
    remaining: int
    resets_at: Timestamp


class Whoami(Open, frozen=True, kw_only=True):
    """GET /v1/whoami: identity and scopes of the caller."""

    object: str = "caller"
    organisation: OrganisationOut
    actor: Text
    key_id: str | None
    """null: no key was needed."""
    user_id: str | None
    scopes: list[str]
    queues: list[str] | None
    per_minute: LimitOut | None = None
    per_day: LimitOut | None = None


class AuditQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/audit-events: pages continue with `after` = `next_after`."""

    after: Annotated[int, Meta(ge=0, le=10**15)] = 0
    page_size: Annotated[int, Meta(ge=1)] = 50
    action: Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$")] = ""
    """Filter by action, such as `key.create`."""


class AuditEventOut(Open, frozen=True, kw_only=True):
    """One entry of the audit log."""

    number: int
    object: str = "audit_event"
    time: Timestamp
    organisation: str
    actor: str
    key_id: str | None
    ip: str
    agent: str
    action: str
    target: str
    """Object of the action."""
    outcome: str
    request_id: str
    hash: str
    """SHA-256 over the previous entry's hash and this entry: a stored hash proves later that no earlier entry was
    changed.
    """


class AuditEventList(Open, frozen=True, kw_only=True):
    """GET /v1/audit-events, oldest first."""

    data: list[AuditEventOut]
    next_after: int
    has_more: bool
