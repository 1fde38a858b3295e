"""Location of a store: from a URL to a file or a database, and the secret in a file beside it."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from headway.private import exposed
from headway.store.database import StoreRefused

MEMORY = ":memory:"
POSTGRES = ("postgresql://", "postgres://")
_PASSWORD = re.compile(r"(://[^:@/?]*:)[^?]*(?=@)|(password=)[^&]*")
"""Password of a URL, from the first colon to the last @: it may have signs in it that ought to be written as %XX."""


def check_url(url: str) -> None:
    """Raise ValueError with the accepted forms, unless it is the URL of a store."""
    if not is_postgres(url):
        sqlite_path(url)


def is_postgres(url: str) -> bool:
    """Tell whether the URL is that of a database of PostgreSQL."""
    return url.startswith(POSTGRES)


def shown(url: str) -> str:
    """Return the URL without its password, also if the URL is not written as it should be."""
    return _PASSWORD.sub(lambda found: (found[1] or found[2]) + "***", url) if is_postgres(url) else url


def need_driver() -> None:
    """Raise StoreRefused with what to install, unless PostgreSQL can be spoken to."""
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        why = " ".join(str(error).split())
        raise StoreRefused(f"a store on PostgreSQL needs a driver: pip install 'headway[postgres]' ({why})") from error


def sqlite_path(url: str) -> Path | None:
    """Return the file of `sqlite:///PATH` (None: in memory); raise ValueError with the accepted form."""
    scheme, separator, rest = url.partition(":///")
    if not separator or scheme != "sqlite" or not rest:
        what = url.split("://", maxsplit=1)[0][:40] + "://…" if "://" in url else url[:80]
        raise ValueError(
            f"{what} is not a store; write sqlite:///headway.db, sqlite:////srv/headway.db for an absolute path, "
            f"or postgresql://USER@HOST/DATABASE"
        )
    return None if rest == MEMORY else Path(rest)


def need_folder(path: Path | None, *, make: bool) -> None:
    """Raise StoreRefused with what to do if a store's folder is not there; `make` makes it, for its owner only."""
    if path is None:
        return
    try:
        path.parent.stat()
    except FileNotFoundError:
        pass
    except OSError:  # opening the store says what is wrong
        return
    else:
        return
    if not make:
        raise StoreRefused(
            f"there is no folder {path.parent}: say --make-folder (HEADWAY_MAKE_FOLDER=true) to have it made, or mount the "
            f"disk that it is on"
        )
    path.parent.mkdir(parents=True, mode=0o700)


def secret_of(path: Path | None, given: str) -> bytes:
    """Return the secret that signs tokens and cursors: the given one, the one in the key file, or a new one.

    A new one is kept in `PATH.key`, readable by its owner only: it is not in the store, so that a copy of the store alone
    does not let anyone make tokens. Raises as `kept_secret` does.
    """
    kept = kept_secret(path, given)
    if kept is not None:
        return kept
    if path is None:
        return secrets.token_bytes(32)
    key_path = key_path_of(path)
    _make_key(key_path)
    return _read_key(key_path)


def kept_secret(path: Path | None, given: str) -> bytes | None:
    """Return the secret that is given or kept beside the file; None: there is none yet. `serve` and `doctor` both ask here.

    Raises ValueError, with what to do, if it is too short, cannot be read, or is not as Headway writes one.
    """
    if given:
        if len(given) < 32:  # noqa: PLR2004 - 256 bits if it is random text
            raise ValueError("the secret is too short: give at least 32 random characters")
        return given.encode()
    if path is None or not os.path.lexists(key_path_of(path)):
        return None
    return _read_key(key_path_of(path))


class ExposedKey(ValueError):
    """The key file is valid, but other users of the machine may read or change it."""


WITHOUT_IT: Final = (
    "if it is lost, `headway doctor --accept-loss` makes a new one, and all that was signed or sealed with it is void"
)


def aside(path: Path, why: str, now_ms: int) -> Path:
    """Return the name under which a file is set aside: `headway.db.key.useless-20261130T112500Z`."""
    at = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
    return path.with_name(f"{path.name}.{why}-{at:%Y%m%dT%H%M%SZ}")


def key_path_of(path: Path) -> Path:
    """Return the path of a SQLite store's key file."""
    return path.with_name(path.name + ".key")


def _read_key(key_path: Path) -> bytes:
    kept = b""
    try:
        with key_path.open() as file:
            mode = exposed(os.fstat(file.fileno()))
            with contextlib.suppress(ValueError):
                kept = bytes.fromhex(file.read())
    except OSError as error:
        raise ValueError(
            f"{key_path} cannot be read ({error.strerror}): it has to be a file that the server's user may read; {WITHOUT_IT}"
        ) from None
    if len(kept) < 32:  # noqa: PLR2004 - as above
        raise ValueError(
            f"{key_path} is not a key as Headway writes one: put it back from a backup, or set HEADWAY_SECRET as it was; "
            f"{WITHOUT_IT}"
        )
    if mode is not None:
        raise ExposedKey(
            f"others may read or change {key_path} (mode {mode}), and with what it holds make keys and open what is sealed: "
            f"chmod 600 {key_path}"
        )
    return kept


def _make_key(key_path: Path) -> None:
    """Write a new key beside its place and link it there: killed at any moment, there is a whole key or none."""
    draft = key_path.with_name(f"{key_path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(32).hex().encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
        os.link(draft, key_path)
    draft.unlink()
