"""What the store keeps of organisations, users and keys; and the log, which only grows.

Everything here is read as a whole and kept in memory (`features.access.directory`): it is small, and nobody is let in or
kept out by what a database answers in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import asdict, astuple, replace

from headway.features.access.model import Allowance, AuditEvent, Key, Secret, Usage, User
from headway.features.access.rules import Head, chained
from headway.ids import Signer
from headway.kernel.organisation import Organisation
from headway.notify.events import AccessChanged
from headway.store.corruption import is_json
from headway.store.database import Database
from headway.store.reader import Reader
from headway.store.unit_of_work import UnitOfWork

VERSION: Final = "access"
"""The fact whose value rises with every change of what is here, but for the log."""
HEAD: Final = "audit"
"""The fact that says where the log ends. Who appends to it locks it first: servers take turns."""

SEAL: Final = "audit_seal"
"""The fact with the seal: an earlier end of the log, signed with the store's secret, so that write access to the
database alone cannot forge it."""

_encode: Final = msgspec.json.Encoder().encode
_head: Final = msgspec.json.Decoder(Head)


class AccessSnapshot(msgspec.Struct, frozen=True):
    """All that is kept, as of one version."""

    version: str
    organisations: list[Organisation]
    allowances: list[Allowance]
    users: list[User]
    keys: list[Key]
    secrets: list[Secret]


def read_known(database: Database) -> AccessSnapshot:
    """Read all. The version comes first: what changes meanwhile is read again because of it."""
    return AccessSnapshot(
        read_version(database),
        [Organisation(*row) for row in database.rows("read_organisations")],
        [Allowance(*row) for row in database.rows("read_allowances")],
        [User(*row) for row in database.rows("read_users")],
        [_key(row) for row in database.rows("read_keys")],
        [Secret(*row) for row in database.rows("read_secrets")],
    )


def _key(row: tuple[Any, ...]) -> Key:
    """Return the key of a row; one whose scopes were damaged on disk has none."""
    key = Key(*row)
    if is_json(key.scopes) and (key.queues is None or is_json(key.queues)):
        return key
    return replace(key, scopes="[]", queues="[]")


def read_version(database: Database) -> str:
    """Return the version; of a store in which nothing was changed yet it is empty."""
    rows = database.rows("read_fact", name=VERSION)
    return str(rows[0][0]) if rows else ""


def read_usage(database: Database, since: int) -> list[Usage]:
    """Return what was counted in windows that began since then."""
    return [Usage(*row) for row in database.rows("read_usage", since=since)]


async def read_audit(
    read: Reader, after: int, limit: int, organisation: int, action: str
) -> tuple[list[AuditEvent], bool]:
    """Return a page of the log after a number, of one organisation (0: of all), and whether there is more."""

    def page(database: Database) -> list[AuditEvent]:
        rows = database.rows("read_audit", after=after, limit=limit + 1, organisation=organisation, action=action)
        return [AuditEvent(*row) for row in rows]

    found = await read.on(page)
    return found[:limit], len(found) > limit


def lock(uow: UnitOfWork) -> AccessSnapshot:
    """Return what is there now, and let no other server change it until this transaction is over."""
    uow.flush()
    uow.database.run("insert_fact", name=VERSION, value="0")
    uow.database.rows("lock_fact", name=VERSION)
    return read_known(uow.database)


def save(uow: UnitOfWork, known: AccessSnapshot, *changed: Organisation | Allowance | User | Key) -> None:
    """Keep what has changed; `known` is what `lock` has returned in the same transaction."""
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
    """Keep these secrets of a key, and no others."""
    uow.later("delete_secrets", key_id=key_id)
    uow.later("insert_secrets", rows=_encode([astuple(secret) for secret in secrets]).decode())


def audit(uow: UnitOfWork, event: AuditEvent) -> None:
    """Append a line to the log of who did what; its number and hash are given at the end of the transaction."""
    uow.do_last(append, event)


def append(database: Database, events: list[AuditEvent]) -> None:
    """Append to the log, in a transaction that is about to end: until it has, no other server can append."""
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
    """Return the last entry of the audit log, and its seal; "" if it has none."""
    seals = database.rows("read_fact", name=SEAL)
    return head_of(database.rows("read_fact", name=HEAD)), str(seals[0][0]) if seals else ""


def seal(database: Database, signer: Signer, earlier: Sequence[Signer]) -> Head | None:
    """Seal the log as it is, in a transaction; return where it was sealed before, None if it was not.

    Raises ValueError for a log that does not have the line that it was sealed with.
    """
    database.run("insert_fact", name=HEAD, value=_encode(Head()).decode())
    database.rows("lock_fact", name=HEAD)
    head, text = read_seal(database)
    before = unsealed(text, (signer, *earlier))
    if before is not None and before.number and not database.rows("read_audit_line", **asdict(before)):
        raise ValueError(f"line {before.number} of the log is not the one that was sealed")
    database.run("insert_fact", name=SEAL, value="")
    database.run("save_fact", name=SEAL, value=signer.seal(SEAL, _encode(head).decode()))
    return before


def unsealed(text: str, signers: Iterable[Signer]) -> Head | None:
    """Return the sealed end of the log; None for a seal that none of the signers has made."""
    found = next((head for signer in signers if (head := signer.unseal(SEAL, text)) is not None), None)
    return None if found is None else _head.decode(found)


def head_of(rows: Iterable[tuple[str]]) -> Head:
    """Return where the log ended, from what the store says."""
    return next((_head.decode(value) for (value,) in rows), Head())
