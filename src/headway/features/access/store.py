"""Statements of organisations, users, keys and the audit log, within a transaction or a read.

All but the log is read as a whole and cached (`features.access.directory`): it is small, and authentication must not wait
for a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec.structs import asdict, astuple, replace

from headway.features.access.model import Allowance, AuditEvent, Key, Secret, Usage, User
from headway.features.access.rules import Head, chained
from headway.ids import Signer
from headway.kernel.organisation import Organisation
from headway.notify.events import CommitEvent
from headway.store.corruption import is_json
from headway.store.database import Database
from headway.store.reader import Reader
from headway.store.unit_of_work import UnitOfWork

VERSION: Final = "access"
"""Name of the fact whose value rises with every change of organisations, users and keys."""
HEAD: Final = "audit"
"""Name of the fact with the end of the log. Its row is locked by each append, so that servers take turns."""

SEAL: Final = "audit_seal"
"""Name of the fact with the seal: an earlier end of the log, signed with the store's secret, so that write access to the
database alone cannot forge it."""

_encode: Final = msgspec.json.Encoder().encode
_head: Final = msgspec.json.Decoder(Head)


class AccessChanged(CommitEvent, frozen=True):
    """Keys, users or organisations changed, here or on another server."""

    relay: ClassVar[str] = "access"


class AccessSnapshot(msgspec.Struct, frozen=True):
    """Organisations, users and keys as of one version."""

    version: str
    organisations: list[Organisation]
    allowances: list[Allowance]
    users: list[User]
    keys: list[Key]
    secrets: list[Secret]


def read_snapshot(database: Database) -> AccessSnapshot:
    """Read all. The version comes first, so that changes made meanwhile are noticed and read again."""
    return AccessSnapshot(
        read_version(database),
        [Organisation(*row) for row in database.rows("read_organisations")],
        [Allowance(*row) for row in database.rows("read_allowances")],
        [User(*row) for row in database.rows("read_users")],
        [_key(row) for row in database.rows("read_keys")],
        [Secret(*row) for row in database.rows("read_secrets")],
    )


def _key(row: tuple[Any, ...]) -> Key:
    """Return the key of a row, without scopes if these were damaged on disk."""
    key = Key(*row)
    if is_json(key.scopes) and (key.queues is None or is_json(key.queues)):
        return key
    return replace(key, scopes="[]", queues="[]")


def read_version(database: Database) -> str:
    """Return the version; it is empty before the first change."""
    rows = database.rows("read_fact", name=VERSION)
    return str(rows[0][0]) if rows else ""


def read_usage(database: Database, since: int) -> list[Usage]:
    """Return the counts of windows that began since then."""
    return [Usage(*row) for row in database.rows("read_usage", since=since)]


async def read_audit(
    read: Reader, after: int, limit: int, organisation: int, action: str
) -> tuple[list[AuditEvent], bool]:
    """Return the lines of the log after a number, of one organisation (0: of all), and whether there are more."""

    def page(database: Database) -> list[AuditEvent]:
        rows = database.rows("read_audit", after=after, limit=limit + 1, organisation=organisation, action=action)
        return [AuditEvent(*row) for row in rows]

    found = await read.on(page)
    return found[:limit], len(found) > limit


def lock(uow: UnitOfWork) -> AccessSnapshot:
    """Return the present content, and keep other servers from changing it until the end of this transaction."""
    uow.flush()
    uow.database.run("insert_fact", name=VERSION, value="0")  # not counted as a change: 0 stands for a missing version
    uow.database.rows("lock_fact", name=VERSION)
    return read_snapshot(uow.database)


def save(uow: UnitOfWork, known: AccessSnapshot, *changed: Organisation | Allowance | User | Key) -> None:
    """Save the changed objects; `known` is the result of `lock` in the same transaction."""
    for noun in changed:
        match noun:
            case Organisation():
                uow.save_organisation(noun)
            case Allowance():
                uow.later("save_allowance", **asdict(noun))
            case User():
                uow.later("save_user", **asdict(noun))
            case Key():
                uow.later("save_key", **asdict(noun))
    uow.later("save_fact", name=VERSION, value=str(int(known.version or "0") + 1))
    uow.emit(AccessChanged())


def save_secrets(uow: UnitOfWork, key_id: str, secrets: Iterable[Secret]) -> None:
    """Replace the secrets of a key."""
    uow.later("delete_secrets", key_id=key_id)
    uow.later("insert_secrets", rows=_encode([astuple(secret) for secret in secrets]).decode())


def append_lines(database: Database, events: list[AuditEvent]) -> None:
    """Append to the log, last of all in a transaction: until its end no other server can append."""
    database.run("insert_fact", name=HEAD, value=_encode(Head()).decode())
    head = _head.decode(database.rows("lock_fact", name=HEAD)[0][0])
    rows = []
    for event in events:
        line = chained(msgspec.structs.replace(event, number=head.number + 1), head.hash)
        head = Head(line.number, line.hash)
        rows.append(astuple(line))
    database.run("insert_audit", rows=_encode(rows).decode())
    database.run("save_fact", name=HEAD, value=_encode(head).decode())


def read_seal(database: Database) -> tuple[Head, str]:
    """Return the end of the log, and its seal; "" if it has none."""
    seals = database.rows("read_fact", name=SEAL)
    return head_of(database.rows("read_fact", name=HEAD)), str(seals[0][0]) if seals else ""


def seal(uow: UnitOfWork, signer: Signer, earlier: Sequence[Signer]) -> Head | None:
    """Seal the log as it is, within a transaction; return the end that was sealed before, or None.

    Raises ValueError for a log without the line that was sealed before.
    """
    uow.execute("insert_fact", name=HEAD, value=_encode(Head()).decode())
    uow.database.rows("lock_fact", name=HEAD)
    head, text = read_seal(uow.database)
    before = unsealed(text, (signer, *earlier))
    if before is not None and before.number and not uow.database.rows("read_audit_line", **asdict(before)):
        raise ValueError(f"line {before.number} of the audit log was changed after it was sealed")
    uow.execute("insert_fact", name=SEAL, value="")
    uow.execute("save_fact", name=SEAL, value=signer.seal(SEAL, _encode(head).decode()))
    return before


def unsealed(text: str, signers: Iterable[Signer]) -> Head | None:
    """Return the sealed end of the log; None for a seal of another signer."""
    found = next((head for signer in signers if (head := signer.unseal(SEAL, text)) is not None), None)
    return None if found is None else _head.decode(found)


def head_of(rows: Iterable[tuple[str]]) -> Head:
    """Return the end of the log from the rows of its fact."""
    return next((_head.decode(value) for (value,) in rows), Head())
