"""Actions of a record task from requests: names become ids, constants are normalised, targets and templates checked.

An action that cannot work is refused here, with a pointer, and not by each record of a run. Secrets are sealed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from headway.errors import HeadwayError
from headway.features.record_tasks.model import (
    Action,
    Constant,
    Email,
    FieldCopy,
    Insert,
    Rendering,
    Source,
    Sources,
    Start,
    Update,
    UpdateConnected,
    Webhook,
)
from headway.features.record_tasks.rules import EMAIL_PARTS, NAMES, connections
from headway.features.tables.model import Field, FieldType, Table
from headway.features.tables.rules.values import BadValue, normal
from headway.outbound.gateway import Gateway
from headway.outbound.signing import check_headers, check_secret
from headway.protocol import record_tasks as wire
from headway.protocol.values import invalid
from headway.vault import Vault

_encode: Final = msgspec.json.Encoder().encode


class Secrets(msgspec.Struct, frozen=True):
    """Secrets of a webhook: the values of its headers, and the secret that signs its calls."""

    headers: dict[str, str] = {}
    secret: str = ""


class ActionBuilder:
    """Builder of the actions of one record task."""

    def __init__(
        self,
        stored: str,
        table: Table,
        *,
        find_table: Callable[[str], Awaitable[Table]],
        knows_task: Callable[[str], bool],
        gateway: Gateway,
        vault: Vault,
    ) -> None:
        """`stored` is the stored name of the task, `table` the table of its records."""
        self._stored = stored
        self._table = table
        self._find_table = find_table
        self._knows_task = knows_task
        self._gateway = gateway
        self._vault = vault
        self.connected = False
        """Whether a template uses values of connected records."""

    async def action(self, given: wire.AnyAction, at: str) -> Action:
        """Return the action to store; errors have pointers that begin with `at`.

        Raises InvalidInput, TableNotFound, and TargetRefused for a URL that the egress policy does not allow.
        """
        match given:
            case wire.UpdateRecord():
                return Update(await self._sources(given.set, self._table, at))
            case wire.UpdateConnected():
                field = self._connection(given.connection, at)
                target = self._own(await self._find_table(field.table_id or ""), at)
                return UpdateConnected(field.id, await self._sources(given.set, target, at, target=target))
            case wire.InsertRecord():
                table = self._own(await self._find_table(given.table), at)
                sources = await self._sources(given.set, table, at)
                for field in table.fields:
                    if field.required and field.default is None and field.id not in sources:
                        raise invalid(f"{at}/set", f"{field.name!r} of {table.name!r} is required")
                return Insert(table.id, sources)
            case wire.SendEmail():
                if not given.to.strip() or not given.subject.strip() or not (given.text or given.html):
                    raise invalid(at, "a mail needs to, subject, and text or html")
                for part in EMAIL_PARTS:
                    await self._template(getattr(given, part), f"{at}/{part}")
                return Email(**{part: getattr(given, part) for part in EMAIL_PARTS})
            case wire.CallWebhook():
                return await self._webhook(given, at)
            case wire.StartTask():
                if not self._knows_task(given.task):
                    raise invalid(f"{at}/task", f"there is no task {given.task[:80]!r}")
                sources = {
                    name: await self._source(value, None, f"{at}/input/{name}") for name, value in given.input.items()
                }
                return Start(given.task, sources)

    async def _webhook(self, given: wire.CallWebhook, at: str) -> Webhook:
        pointer = f"{at}/url"
        try:
            await self._gateway.policy.look_up(self._gateway.policy.url(given.url))
            pointer = f"{at}/headers"
            check_headers(given.headers)
            pointer = f"{at}/secret"
            if given.secret:
                check_secret(given.secret)
        except HeadwayError as error:
            error.errors = [{"pointer": pointer, "code": error.code, "message": error.detail}]
            raise
        await self._template(given.body, f"{at}/body")
        secret = Secrets(given.headers, given.secret)
        sealed = (
            "" if secret == Secrets() else self._vault.seal(seal_of(self._stored, given.url), _encode(secret).decode())
        )
        return Webhook(given.url, given.body, tuple(given.headers), bool(given.secret), sealed)

    def _own(self, table: Table, at: str) -> Table:
        if table.external is not None:
            raise invalid(at, f"{table.name!r} is an external table; this action is for Headway's own tables")
        return table

    def _connection(self, name: str, at: str) -> Field:
        field = self._table.find(name)
        if field is None or field.type is not FieldType.CONNECTION:
            known = ", ".join(repr(each.name) for each in connections(self._table)) or "none"
            raise invalid(
                f"{at}/connection", f"{name[:80]!r} is not a connection of {self._table.name!r}; it has {known}"
            )
        return field

    async def _sources(self, given: Mapping[str, Any], table: Table, at: str, target: Table | None = None) -> Sources:
        sources: Sources = {}
        for name, value in given.items():
            field = table.find(name)
            if field is None:
                known = ", ".join(repr(each.name) for each in table.fields[:20]) or "none"
                raise invalid(f"{at}/set/{name}", f"{name[:80]!r} is not a field of {table.name!r}; it has {known}")
            if field.id in sources:
                raise invalid(f"{at}/set/{name}", f"{field.name!r} is given twice")
            sources[field.id] = await self._source(value, field, f"{at}/set/{name}", target)
        return sources

    async def _source(self, given: Any, field: Field | None, at: str, target: Table | None = None) -> Source:
        if isinstance(given, dict):
            if given.keys() == {"template"} and isinstance(given["template"], str):
                await self._template(given["template"], at, target)
                return Rendering(given["template"])
            if given.keys() == {"field"} and isinstance(given["field"], str):
                other = self._table.find(given["field"])
                if other is None:
                    raise invalid(at, f"{given['field'][:80]!r} is not a field of {self._table.name!r}")
                return FieldCopy(other.id)
            if given.keys() == {"value"}:
                given = given["value"]
            elif field is not None:
                raise invalid(at, 'it takes a value, {"field": NAME}, or {"template": TEXT}')
        if field is None:
            return Constant(given)
        try:
            value = normal(field, given)
        except BadValue as error:
            raise invalid(at, f"{field.name} {error}") from None
        if value is None and field.required:
            raise invalid(at, f"{field.name} is required")
        return Constant(value)

    async def _template(self, source: str, at: str, target: Table | None = None) -> None:
        """Raise InvalidInput for a template that cannot be parsed, or uses an unknown name."""
        if not source:
            return
        looked = await self._gateway.templates.look(source, self._table.organisation)
        if looked.error:
            raise invalid(at, f"the template cannot be read: {looked.error}")
        allowed = NAMES if target is None else NAMES | {"target"}
        unknown = [name for name in looked.names if name not in allowed]
        if unknown:
            raise invalid(at, f"the template uses {unknown[0]!r}; known: {', '.join(sorted(allowed))}")
        fields = {"id", "items", "get"} | {field.name for field in self._table.fields}
        missing = [name for name in looked.fields if name not in fields]
        if missing:
            raise invalid(at, f"the template uses record.{missing[0]}, which is not a field of {self._table.name!r}")
        self.connected = self.connected or "connected" in looked.names


def seal_of(stored: str, url: str) -> str:
    """Return the name under which a webhook's secrets are sealed: a changed row cannot send them to another URL."""
    return f"webhook:{stored}:{url}"
