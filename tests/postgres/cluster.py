"""A PostgreSQL server of the test's own: up in a second, as root too, killed as a crash kills, gone without a trace.

It is as durable as any: fsync, full-page writes and synchronous commits are on unless a test says otherwise. Its files lie
in memory where there is room, since what tests kill are processes, after which the kernel still has what they wrote: on
one machine's disk a database took 390 ms to make, and in memory 26.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, LiteralString, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from tests.faults.waiting import until
from tests.postgres import keeper
from tests.postgres.folders import AccountFolder
from tests.postgres.installation import Account, Installation, PostgresUnavailable, find

Setting = str | int | float | bool
SETTINGS: Mapping[str, Setting] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": 60,
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, which is removed; /dev/shm would keep what the killed left
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

GUARDED = "guarded"
"""The role whose members are asked for a password; nobody else is."""

ACCESS = f"""\
local all         +{GUARDED} scram-sha-256
host  all         +{GUARDED} 127.0.0.1/32 scram-sha-256
local all         all trust
host  all         all 127.0.0.1/32 trust
local replication all trust
host  replication all 127.0.0.1/32 trust
"""

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections: none of them can take the port while its server is down, nor can
a client that tries again and again to connect to that port be connected to itself."""

HOW: Mapping[str, signal.Signals] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Failed(Exception):
    """A program of PostgreSQL did not do what it should; the message ends with what it said."""


class Servers(ABC):
    """Servers of PostgreSQL as a context manager: `with` starts them and, at the end, leaves nothing of them."""

    @abstractmethod
    def start(self) -> Self:
        """Start all, and wait until they take what tests ask of them."""

    @abstractmethod
    def close(self) -> None:
        """End all, in whatever state, and remove their files; nothing if there are none."""

    def __enter__(self) -> Self:
        """Start; a start that fails leaves nothing either."""
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class Cluster(Servers):
    """A server with its data, over all its lives; `with` starts it and, at the end, leaves nothing of it.

    `settings` are PostgreSQL's own and stand above the ones here. Without `installation`, it is the one that is found.
    `on_disk` is for who measures; `below` is a folder to put everything in, for who makes its disk fail.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting] | None = None,
        installation: Installation | None = None,
        *,
        on_disk: bool = False,
        below: Path | None = None,
    ) -> None:
        """Nothing is made yet."""
        self._on_disk, self._below = on_disk, below
        self.settings: dict[str, Setting] = {**SETTINGS, **(settings or {})}
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._installation = installation or find()
        self._account = Account.for_servers()
        self._kept: AccountFolder | None = None
        self._names = (f"test_{os.getpid()}_{number}" for number in itertools.count(1))

    # -- its lives ---------------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where everything of it lies: installation, data, log and socket."""
        assert self._kept is not None, "the cluster was not started"
        return self._kept.folder

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start it, at first with data of its own, and wait until it takes connections."""
        assert not self.running, "it runs already"
        new = self._kept is None
        if new:
            self._make()
        while not self._started():
            if not new:
                raise Failed(f"another server has taken port {self.port}, which is in the URLs that were given out")
            self.port = free_port()
        return self

    def stop(self, how: Literal["fast", "immediate"] = "fast", within_s: float = 30) -> None:
        """Shut it down: `fast` ends sessions and saves all; `immediate` saves nothing, so that the next start recovers."""
        assert self.process is not None, "the cluster was not started"
        self.process.send_signal(HOW[how])
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not stop within {within_s:g} s{self.logged()}") from None

    def kill(self) -> None:
        """kill -9, of every process; none is left when this returns."""
        keeper.crash(self.data)
        if self.process is not None:
            self.process.wait()

    def restart(self) -> Self:
        """Stop it fast, and start it on the same port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End it, however it is, and remove everything of it."""
        if self._kept is not None:
            self._kept.close()
        if self.process is not None:
            self.process.wait()
        self._kept = self.process = None

    def configure(self, **settings: Setting) -> None:
        """Change settings; those that need no restart are in force soon after."""
        self.settings |= settings
        self._write_settings()
        if self.running:
            self.query("SELECT pg_reload_conf()")

    # -- its databases -----------------------------------------------------------------------------------------------------

    def url(
        self, database: str = "postgres", *, user: str = "postgres", password: str | None = None, local: bool = False
    ) -> str:
        """Return the URL of a database: over TCP or, if `local`, over the Unix socket."""
        who = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
        if local:
            where = urlencode({"host": self.folder, "port": self.port})
            return f"postgresql://{who}@/{quote(database, safe='')}?{where}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def query(self, statement: str, *binds: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Carry out a statement by itself, as superuser on a connection of its own; return its rows."""
        return query(self.url(database, local=True), statement, *binds)

    def create_database(self, name: str = "", template: str = "template1") -> str:
        """Make a database that is like its template, in which nobody may be meanwhile; return its name."""
        name = name or next(self._names)
        execute(self.url(local=True), "CREATE DATABASE {} TEMPLATE {}", sql.Identifier(name), sql.Identifier(template))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is in it."""
        execute(self.url(local=True), "DROP DATABASE {} WITH (FORCE)", sql.Identifier(name))

    def create_user(self, name: str, password: str) -> None:
        """Make a user who is asked for a password; everyone else is let in without."""
        guarded = sql.Identifier(GUARDED)
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = %s", GUARDED):
            execute(self.url(local=True), "CREATE ROLE {}", guarded)
        told = (sql.Identifier(name), sql.Literal(password), guarded)
        execute(self.url(local=True), "CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}", *told)

    # -- its files ---------------------------------------------------------------------------------------------------------

    def logged(self) -> str:
        """Return the end of the log, as messages of failures quote it."""
        log = self.folder / "log"
        return f"\n-- {log}\n{log.read_text(errors='replace')[-4000:]}" if log.exists() else ""

    def write(self, name: str, text: str) -> None:
        """Write a file in the data folder that the server may read and change."""
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        self._account.own(path)

    def run(self, program: str, *arguments: str) -> None:
        """Carry out one of PostgreSQL's programs, as whom the server is run."""
        done = subprocess.run(
            [self._installation.programs / program, *arguments], cwd=self.folder, env=self._environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            **self._account.becoming(),
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"{program} ended with {done.returncode}\n{done.stdout.decode(errors='replace')[-4000:]}")

    def fill(self) -> None:
        """Make the data folder."""
        # What is synced here would only have to outlive the machine; a crash of the server needs no more than the kernel.
        self.run(
            "initdb", "--pgdata", str(self.data), "--username=postgres", "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8", "--data-checksums", "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _make(self) -> None:
        self._kept = AccountFolder(self._account, on_disk=self._on_disk, below=self._below)
        self._installation = self._installation.within_reach(self._account, self.folder)
        self.port = free_port()
        self.fill()

    def _environment(self) -> dict[str, str]:
        assert self._kept is not None, "the cluster was not started"
        return self._kept.environment

    def _write_settings(self) -> None:
        given = {**self.settings, "port": self.port, "unix_socket_directories": str(self.folder)}
        quoted = ((name, str(value).replace("'", "''")) for name, value in given.items())
        self.write("postgresql.conf", "".join(f"{name} = '{value}'\n" for name, value in quoted))

    def _started(self) -> bool:
        """Return whether it is up; it is not if another has taken the port meanwhile."""
        self._write_settings()
        self.write("pg_hba.conf", ACCESS)
        with (self.folder / "log").open("ab") as log:
            began = log.tell()
            self.process = subprocess.Popen(
                [self._installation.programs / "postgres", "-D", self.data], cwd=self.folder, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._account.becoming(),
            )  # fmt: skip
        try:
            return until(lambda: self._ready() or not self.running, 60) and self._up_or_say_why(began)
        except AssertionError:
            raise Failed(f"it takes no connections within 60 s{self.logged()}") from None

    def _ready(self) -> bool:
        """Return what the postmaster says of itself, in the file that pg_ctl reads too."""
        assert self.process is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() in {"ready", "standby"}

    def _up_or_say_why(self, began: int) -> bool:
        if self.running:
            return True
        if b"Address already in use" in (self.folder / "log").read_bytes()[began:]:
            return False
        raise Failed(f"it has ended when it was started{self.logged()}")


def query(url: str, statement: str, *binds: Any, connect_timeout: int | None = None) -> list[tuple[Any, ...]]:
    """Carry out a statement by itself on a connection of its own; return its rows. The timeout is in seconds."""
    with psycopg.connect(url, autocommit=True, connect_timeout=connect_timeout) as connection:
        done = connection.execute(statement.encode(), binds or None)
        return done.fetchall() if done.description else []


def execute(url: str, statement: LiteralString, *parts: sql.Composable) -> None:
    """Carry out a statement with names and literals in its places, by itself on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*parts))


def primary_url(ports: Iterable[int], database: str = "postgres", *, user: str = "postgres") -> str:
    """Return a URL that names servers by their ports and connects to the one that is the primary."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    wanted = urlencode({"target_session_attrs": "primary"})
    return f"postgresql://{quote(user, safe='')}@{hosts}/{quote(database, safe='')}?{wanted}"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise PostgresUnavailable("a hundred ports were tried, and servers listen on all of them")
