"""The check of a SQLite store's secret: the store has its digest, so that a wrong secret is noticed at the start."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw

from headway.ids import Signer
from headway.store.database import StoreRefused
from headway.store.location import WITHOUT_IT, ExposedKey, aside, kept_secret, key_path_of, secret_of
from headway.store.sqlite.connection import STATEMENTS

MARK: Final = "secret_mark"
"""Name under which the digest of the secret is kept; the digest does not reveal the secret."""

_READ: Final = "SELECT value FROM store WHERE name = ?"
_WRITE: Final = "INSERT INTO store (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_USES: Final = tuple(sql for name, sql in STATEMENTS.items() if name.startswith("uses_secret_"))
"""Statements of features that find a row which was signed or sealed with the secret."""


class WrongSecret(StoreRefused):
    """The secret differs from the store's."""


def settle(connection: apsw.Connection, path: Path, given: str, earlier: Sequence[bytes]) -> bytes:
    """Return the secret of a store, which is made if there is none yet, and remember it in the store.

    Raises ValueError as `kept_secret` does, and WrongSecret if it is not one that the store can be used with.
    """
    if refusal := misfit(connection, path, kept_secret(path, given), earlier):
        raise WrongSecret(refusal)
    secret = secret_of(path, given)
    mark = _mark_of(secret)
    if _fact(connection) != mark:
        connection.execute(_WRITE, (MARK, mark))
    return secret


def misfit(connection: apsw.Connection, path: Path, secret: bytes | None, earlier: Sequence[bytes]) -> str | None:
    """Return why the store cannot be used with this secret (None: there is none), and what to do; None: it can be.

    A store in which nothing depends on its secret takes any. `earlier` secrets, which the settings name, are known as well.
    """
    mark = _fact(connection)
    if not any(connection.execute(sql).get for sql in _USES):
        return None
    key_path = key_path_of(path)
    back = f"put the right {key_path.name} back from a backup, or set HEADWAY_SECRET as it was"
    if secret is None:
        return f"{key_path} is not there, and keys or sealed secrets in the store depend on it: {back}; {WITHOUT_IT}"
    if mark is None or any(hmac.compare_digest(mark, _mark_of(each)) for each in (secret, *earlier)):
        return None
    return (
        f"the secret is not the one that {path} was last used with, and keys or sealed secrets in the store depend on that: "
        f"{back}; to change it, name the old one in HEADWAY_EARLIER_SECRETS; {WITHOUT_IT}"
    )


def renew(connection: apsw.Connection, path: Path, given: str, earlier: Sequence[bytes], now_ms: int) -> str | None:
    """Replace an unusable secret by the given or a new one; return a description of the change, or None.

    A key file that is no use is kept beside the new one. Raises ExposedKey for one that is not lost, only open to others.
    """
    try:
        if misfit(connection, path, kept_secret(path, given), earlier) is None:
            return None
    except ExposedKey:
        raise
    except ValueError:
        pass
    if not given and os.path.lexists(key_path_of(path)):
        key_path_of(path).rename(aside(key_path_of(path), "useless", now_ms))
    connection.execute(_WRITE, (MARK, _mark_of(secret_of(path, given))))
    return "the store has a new secret: what was signed or sealed with the old one is void, and so is every key"


def _fact(connection: apsw.Connection) -> str | None:
    row = connection.execute(_READ, (MARK,)).fetchone()
    return None if row is None else str(row[0])


def _mark_of(secret: bytes) -> str:
    return Signer(secret).sign("store", "")
