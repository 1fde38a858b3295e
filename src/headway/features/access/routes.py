"""Routes and handlers for organisations, users, keys and the audit log."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.errors import OrganisationNotFound
from headway.features.access.access import Access
from headway.features.access.directory import KeyEntry
from headway.features.access.keys import IssuedKey, Keys
from headway.features.access.model import AuditEvent, User
from headway.features.access.organisations import Organisations
from headway.features.access.rules import is_live
from headway.features.access.users import Users
from headway.kernel.authority import SCOPES
from headway.kernel.organisation import Organisation
from headway.kernel.permissions import may
from headway.kernel.query import FIRST
from headway.protocol import access as wire
from headway.protocol.times import to_text, to_text_or_none
from headway.web.call import Call
from headway.web.parameters import PAGE_MAX
from headway.web.ratelimits import DAY_MS, MINUTE_MS, Window
from headway.web.reply import Reply, json
from headway.web.route import Route, route

_decode_names: Final = msgspec.json.Decoder(list[str]).decode
REPLAYED: Final = (b"idempotency-replayed", b"true")


def _organisations(call: Call) -> Organisations:
    return call.server.service.part(Organisations)


def _keys(call: Call) -> Keys:
    return call.services.get(Keys)


def _users(call: Call) -> Users:
    return call.services.get(Users)


# -- the caller --------------------------------------------------------------------------------------------------------


async def whoami(call: Call) -> Reply:
    """GET /v1/whoami: get the identity and scopes of the key."""
    who = call.principal
    rates = call.rates
    organisation = _organisations(call).of(who.organisation)
    shown = wire.Whoami(
        organisation=organisation_out(call, organisation),
        actor=who.actor,
        key_id=who.key_id,
        user_id=who.user_id,
        scopes=[str(scope) for scope in SCOPES if scope in who.scopes],
        queues=None if who.queues is None else list(who.queues),
        per_minute=None if rates is None else _limit_out(rates.tightest(MINUTE_MS)),
        per_day=None if rates is None else _limit_out(rates.tightest(DAY_MS)),
    )
    return json(shown)


def _limit_out(window: Window) -> wire.LimitOut:
    remaining = max(0, window.limit - window.mine - window.others)
    return wire.LimitOut(limit=window.limit, remaining=remaining, resets_at=to_text(window.ends_at))


# -- keys --------------------------------------------------------------------------------------------------------------


def key_out(call: Call, entry: KeyEntry, text: str | None = None) -> wire.KeyOut:
    """Show a key; its text only where it was made."""
    key, now_ms = entry.key, call.server.clock.now_ms()
    expired = key.expires_at is not None and key.expires_at <= now_ms
    return wire.KeyOut(
        id=key.id,
        organisation="" if entry.organisation is None else entry.organisation.public_id,
        user_id=key.user_id,
        name=key.name,
        scopes=_decode_names(key.scopes),
        queues=None if key.queues is None else _decode_names(key.queues),
        per_minute=key.per_minute,
        per_day=key.per_day,
        state="revoked" if key.revoked_at is not None else "expired" if expired else "active",
        secrets=[
            wire.SecretOut(
                number=secret.number, created_at=to_text(secret.created_at), expires_at=to_text_or_none(secret.until)
            )
            for secret in entry.secrets
            if is_live(secret, now_ms)
        ],
        created_at=to_text(key.created_at),
        expires_at=to_text_or_none(key.expires_at),
        revoked_at=to_text_or_none(key.revoked_at),
        last_used_at=to_text_or_none(key.last_used_at),
        url=f"/v1/keys/{key.id}",
        key=text,
    )


def _issued(call: Call, issued: IssuedKey, status: int) -> Reply:
    shown = key_out(call, issued.entry, None if issued.text is None else str(issued.text))
    if issued.text is None:
        return json(shown, 200, REPLAYED)
    return json(shown, status, (b"location", shown.url.encode()))


async def create_key(call: Call) -> Reply:
    """POST /v1/keys: make a key; its text is shown once.

    Errors: `organisation_not_found`, `conflict`, `idempotency_key_reused`.
    """
    asked = call.asked(wire.CreateKey)
    keys = _keys_of(call, asked.organisation)
    return _issued(call, await keys.create(asked, call.principal, call.origin(), call.request_key()), 201)


def _keys_of(call: Call, public_id: str | None) -> Keys:
    """Return the keys of the caller's organisation, or of the one named, if the caller runs the server."""
    organisations = _organisations(call)
    if public_id is None or public_id == organisations.of(call.principal.organisation).public_id:
        return _keys(call)
    if not may(call.principal, "organisation:admin"):
        raise OrganisationNotFound(f"there is no organisation {public_id[:80]!r}")
    return call.server.service.of(organisations.get(public_id).id).get(Keys)


async def list_keys(call: Call) -> Reply:
    """GET /v1/keys: list keys."""
    return json(wire.KeyList(data=[key_out(call, entry) for entry in _keys(call).list()]))


async def get_key(call: Call) -> Reply:
    """GET /v1/keys/{key}: get a key.

    Errors: `key_not_found`.
    """
    return json(key_out(call, _keys(call).get(call.arguments["key"])))


async def patch_key(call: Call) -> Reply:
    """PATCH /v1/keys/{key}: change a key's name, scopes or limits.

    Errors: `key_not_found`.
    """
    asked = call.asked(wire.PatchKey)
    entry = await _keys(call).patch(call.arguments["key"], asked, call.principal, call.origin())
    return json(key_out(call, entry))


async def rotate_key(call: Call) -> Reply:
    """POST /v1/keys/{key}:rotate: give a key a new secret; it is shown once.

    Errors: `key_not_found`, `conflict`, `idempotency_key_reused`.
    """
    overlap = call.asked(wire.RotateKey).overlap
    issued = await _keys(call).rotate(call.arguments["key"], overlap, call.principal, call.origin(), call.request_key())
    return _issued(call, issued, 200)


async def revoke_key(call: Call) -> Reply:
    """POST /v1/keys/{key}:revoke: revoke a key, and close its streams and sessions.

    Errors: `key_not_found`.
    """
    return json(key_out(call, await _keys(call).revoke(call.arguments["key"], call.principal, call.origin())))


# -- users -------------------------------------------------------------------------------------------------------------


def user_out(call: Call, user: User) -> wire.UserOut:
    """Show a user."""
    return wire.UserOut(
        id=user.id,
        organisation=_organisations(call).of(user.organisation).public_id,
        name=user.name,
        email=user.email,
        state="active" if user.state == "active" else "disabled",
        created_at=to_text(user.created_at),
        updated_at=to_text(user.updated_at),
        url=f"/v1/users/{user.id}",
    )


async def create_user(call: Call) -> Reply:
    """POST /v1/users: make a user.

    Errors: `conflict`, `idempotency_key_reused`.
    """
    user = await _users(call).create(call.asked(wire.CreateUser), call.origin(), call.request_key())
    shown = user_out(call, user)
    return json(shown, 201, (b"location", shown.url.encode()))


async def list_users(call: Call) -> Reply:
    """GET /v1/users: list users."""
    return json(wire.UserList(data=[user_out(call, user) for user in _users(call).list()]))


async def get_user(call: Call) -> Reply:
    """GET /v1/users/{id}: get a user.

    Errors: `user_not_found`.
    """
    return json(user_out(call, _users(call).get(call.arguments["id"])))


async def patch_user(call: Call) -> Reply:
    """PATCH /v1/users/{id}: change a user, or disable all of their keys.

    Errors: `user_not_found`.
    """
    asked = call.asked(wire.PatchUser)
    return json(user_out(call, await _users(call).patch(call.arguments["id"], asked, call.origin())))


# -- organisations -----------------------------------------------------------------------------------------------------


def organisation_out(call: Call, organisation: Organisation) -> wire.OrganisationOut:
    """Show an organisation."""
    allowance = _organisations(call).allowance(organisation.id)
    return wire.OrganisationOut(
        id=organisation.public_id,
        name=organisation.name,
        zone=organisation.zone,
        per_minute=allowance.per_minute,
        per_day=allowance.per_day,
        state="active" if organisation.state == "active" else "disabled",
        created_at=to_text(organisation.created_at),
        url=f"/v1/organisations/{organisation.public_id}",
    )


async def create_organisation(call: Call) -> Reply:
    """POST /v1/organisations: make an organisation.

    Errors: `conflict`, `idempotency_key_reused`.
    """
    asked = call.asked(wire.CreateOrganisation)
    made = await _organisations(call).create(asked, call.origin(), call.request_key())
    shown = organisation_out(call, made)
    return json(shown, 201, (b"location", shown.url.encode()))


async def list_organisations(call: Call) -> Reply:
    """GET /v1/organisations: list organisations."""
    found = _organisations(call).list()
    return json(wire.OrganisationList(data=[organisation_out(call, one) for one in found]))


async def get_organisation(call: Call) -> Reply:
    """GET /v1/organisations/{id}: get an organisation.

    Errors: `organisation_not_found`.
    """
    return json(organisation_out(call, _organisations(call).get(call.arguments["id"])))


async def patch_organisation(call: Call) -> Reply:
    """PATCH /v1/organisations/{id}: change an organisation, or disable all of its keys.

    Errors: `organisation_not_found`, `conflict`.
    """
    asked = call.asked(wire.PatchOrganisation)
    return json(organisation_out(call, await _organisations(call).patch(call.arguments["id"], asked, call.origin())))


# -- the log -----------------------------------------------------------------------------------------------------------


async def list_audit_events(call: Call) -> Reply:
    """GET /v1/audit-events: list audit events."""
    asked = call.parameters(wire.AuditQuery)
    who = call.principal
    whose = 0 if may(who, "organisation:admin") else who.organisation
    size = min(asked.page_size, PAGE_MAX)
    found, more = await call.server.service.part(Access).audit.page(whose, asked.after, size, asked.action)
    shown = [_event_out(call, event) for event in found]
    next_after = shown[-1].number if shown else asked.after
    return json(wire.AuditEventList(data=shown, next_after=next_after, has_more=more))


def _event_out(call: Call, event: AuditEvent) -> wire.AuditEventOut:
    return wire.AuditEventOut(
        number=event.number,
        time=to_text(event.time),
        organisation=_organisations(call).of(event.organisation or FIRST).public_id,
        actor=event.actor,
        key_id=event.key_id or None,
        ip=event.ip,
        agent=event.agent,
        action=event.action,
        target=event.object,
        outcome=event.outcome,
        request_id=event.request_id,
        hash=event.hash,
    )


_KEYED: Final = ("Idempotency-Key",)
_KEY: Final = ("key_not_found",)

ROUTES: Final[tuple[Route, ...]] = (
    route("GET", "/v1/whoami", whoami, "caller", "Get the identity and scopes of the key.", gives=wire.Whoami),
    route("POST", "/v1/keys", create_key, "key:admin", "Make a key; its text is shown once.",
          takes=wire.CreateKey, gives=wire.KeyOut, status=201, also=(200,), headers=_KEYED,
          problems=("organisation_not_found", "conflict", "idempotency_key_reused")),
    route("GET", "/v1/keys", list_keys, "key:admin", "List keys.", gives=wire.KeyList),
    route("GET", "/v1/keys/{key}", get_key, "key:admin", "Get a key.", gives=wire.KeyOut, problems=_KEY),
    route("PATCH", "/v1/keys/{key}", patch_key, "key:admin", "Change a key's name, scopes or limits.",
          takes=wire.PatchKey, gives=wire.KeyOut, problems=_KEY),
    route("POST", "/v1/keys/{key}:rotate", rotate_key, "key:admin", "Give a key a new secret; it is shown once.",
          takes=wire.RotateKey, optional=True, gives=wire.KeyOut, headers=_KEYED,
          problems=(*_KEY, "conflict", "idempotency_key_reused")),
    route("POST", "/v1/keys/{key}:revoke", revoke_key, "key:admin", "Revoke a key, and close its streams and sessions.",
          gives=wire.KeyOut, problems=_KEY),
    route("POST", "/v1/users", create_user, "key:admin", "Make a user.",
          takes=wire.CreateUser, gives=wire.UserOut, status=201, headers=_KEYED,
          problems=("conflict", "idempotency_key_reused")),
    route("GET", "/v1/users", list_users, "key:admin", "List users.", gives=wire.UserList),
    route("GET", "/v1/users/{id}", get_user, "key:admin", "Get a user.",
          gives=wire.UserOut, problems=("user_not_found",)),
    route("PATCH", "/v1/users/{id}", patch_user, "key:admin", "Change a user, or disable all of their keys.",
          takes=wire.PatchUser, gives=wire.UserOut, problems=("user_not_found",)),
    route("POST", "/v1/organisations", create_organisation, "organisation:admin", "Make an organisation.",
          takes=wire.CreateOrganisation, gives=wire.OrganisationOut, status=201, headers=_KEYED,
          problems=("conflict", "idempotency_key_reused")),
    route("GET", "/v1/organisations", list_organisations, "organisation:admin", "List organisations.",
          gives=wire.OrganisationList),
    route("GET", "/v1/organisations/{id}", get_organisation, "organisation:admin", "Get an organisation.",
          gives=wire.OrganisationOut, problems=("organisation_not_found",)),
    route("PATCH", "/v1/organisations/{id}", patch_organisation, "organisation:admin",
          "Change an organisation, or disable all of its keys.",
          takes=wire.PatchOrganisation, gives=wire.OrganisationOut, problems=("organisation_not_found", "conflict")),
    route("GET", "/v1/audit-events", list_audit_events, "audit:read", "List audit events: who changed what, and when.",
          query=wire.AuditQuery, gives=wire.AuditEventList),
)  # fmt: skip
