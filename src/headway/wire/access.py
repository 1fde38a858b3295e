"""Organisations, users, keys and the log on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from headway.wire.runs import Duration, Id, Name, Open, Strict, Text, Timestamp

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
    """What it may do; to read, if nothing is said. Nobody can give what they do not have."""
    queues: Annotated[list[Name], Meta(min_length=1, max_length=1000)] | None = None
    """Of a worker's key: the queues that it may claim from; all of its organisation, if absent."""
    user_id: Id | None = None
    """Whose it is: it works as long as that user is active."""
    expires_in: Duration | None = None
    """How long it is good; until it is revoked, if absent."""
    per_minute: PerMinute | None = None
    per_day: PerDay | None = None
    organisation: Id | None = None
    """The id of another organisation; for keys with organisation:admin of the first one."""


class PatchKey(Strict, frozen=True, kw_only=True):
    """PATCH /v1/keys/{id}; what is absent stays."""

    name: Name | UnsetType = UNSET
    scopes: Annotated[list[ScopeName], Meta(max_length=100)] | UnsetType = UNSET
    per_minute: PerMinute | UnsetType | None = UNSET
    """null: as the server has it for all."""
    per_day: PerDay | UnsetType | None = UNSET


class RotateKey(Strict, frozen=True, kw_only=True):
    """POST /v1/keys/{id}:rotate."""

    overlap: Duration = "24h"
    """How long the last secret goes on working beside the new one; "0s" ends it now."""


class SecretOut(Open, frozen=True, kw_only=True):
    """What is known of a secret of a key."""

    number: int
    created_at: Timestamp
    expires_at: Timestamp | None
    """When it ceases to work, if before the key does."""


class KeyOut(Open, frozen=True, kw_only=True):
    """A key as the API shows it: everything but its secret."""

    id: str
    object: str = "key"
    organisation: str
    user_id: str | None
    name: str
    scopes: list[str]
    queues: list[str] | None
    per_minute: int | None
    """null: as the server has it for all."""
    per_day: int | None
    state: Literal["active", "revoked", "expired"]
    secrets: list[SecretOut]
    """Those that work."""
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None
    """To the minute or so."""
    url: str
    key: str | None = None
    """The whole key, once: in the answer that makes it or its new secret. In no other, not even if that is repeated."""


class KeyList(Open, frozen=True, kw_only=True):
    """GET /v1/keys."""

    data: list[KeyOut]


class CreateUser(Strict, frozen=True, kw_only=True):
    """POST /v1/users."""

    name: Name
    email: Email = ""


class PatchUser(Strict, frozen=True, kw_only=True):
    """PATCH /v1/users/{id}; what is absent stays."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    state: StateOfUse | UnsetType = UNSET
    """Of a user who is disabled no key works."""


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
    """The time zone in which its schedules and naive times are read."""
    per_minute: PerMinute | None = None
    """How often all of its keys together may ask; any number, if absent."""
    per_day: PerDay | None = None


class PatchOrganisation(Strict, frozen=True, kw_only=True):
    """PATCH /v1/organisations/{id}; what is absent stays."""

    name: Name | UnsetType = UNSET
    zone: Zone | UnsetType = UNSET
    per_minute: PerMinute | UnsetType | None = UNSET
    per_day: PerDay | UnsetType | None = UNSET
    state: StateOfUse | UnsetType = UNSET
    """Of an organisation that is disabled no key works; what runs goes on."""


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
    """What may still be asked until the next full minute, or day (UTC)."""

    limit: int
    remaining: int
    resets_at: Timestamp


class Whoami(Open, frozen=True, kw_only=True):
    """GET /v1/whoami: as whom the caller is known."""

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
    """GET /v1/audit-events: ask again with `after` = `next_after`."""

    after: Annotated[int, Meta(ge=0, le=10**15)] = 0
    page_size: Annotated[int, Meta(ge=1)] = 50
    action: Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$")] = ""
    """Only this one, such as `key.create`."""


class AuditEventOut(Open, frozen=True, kw_only=True):
    """One line of the log."""

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
    """What it was done to."""
    outcome: str
    request_id: str
    hash: str
    """SHA-256 over the line before and this one: whoever keeps one of them can tell whether anything before was changed."""


class AuditEventList(Open, frozen=True, kw_only=True):
    """GET /v1/audit-events, oldest first."""

    data: list[AuditEventOut]
    next_after: int
    has_more: bool
