"""Three servers of PostgreSQL under Patroni, and the etcd by which they agree on who is the primary: on loopback, in one folder.

Nobody but Patroni starts, promotes, rewinds or demotes a server here; tests only take things away and bring them back.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg import sql
from tests.faults.waiting import until
from tests.postgres import keeper
from tests.postgres.cluster import ACCESS, SETTINGS, Failed, Servers, execute, free_port, primary_url, query
from tests.postgres.folders import AccountFolder
from tests.postgres.installation import Account, Installation, PostgresUnavailable, find

TIMES: Final = {"ttl": 20, "loop_wait": 2, "retry_timeout": 5}
"""Seconds. `ttl`, after which a primary that says nothing is deposed, is the least that Patroni takes."""

AGREED: Final[Mapping[str, Any]] = {
    "synchronous_mode": True,
    "synchronous_mode_strict": True,
    "postgresql": {
        "use_pg_rewind": True,
        "use_slots": True,
        "parameters": {"synchronous_commit": "on", "wal_log_hints": "on"},
    },
}
"""What the operator's page says for all members; a test holds it against the page."""

NAMES: Final = ("db1", "db2", "db3")
MISSING: Final = {
    "patroni": "Patroni is not installed (tools/setup nightly does that)",
    "etcd": "etcd is not installed (apt-get install etcd-server)",
}


def missing(account: Account) -> str:
    """Return why there can be no Patroni here; nothing if there can."""
    if importlib.util.find_spec("patroni") is None:
        return MISSING["patroni"]
    if shutil.which("etcd") is None:
        return MISSING["etcd"]
    tried = subprocess.run([*python(account), "-c", "import patroni"], cwd="/", capture_output=True, check=False)
    return f"user {account.uid}, whom servers run as, cannot execute {sys.executable}" if tried.returncode else ""


def python(account: Account) -> list[str]:
    """Return the command that is this Python as the account, who may read wherever root has put it, and no more than that."""
    if os.geteuid() != 0:
        return [sys.executable]
    return [
        "setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search", sys.executable,
    ]  # fmt: skip


class Program:
    """A process that works in a folder of its own, over all its lives."""

    def __init__(self, kept: AccountFolder, account: Account, name: str) -> None:
        """Make the folder."""
        self.name = name
        self.folder = kept.folder / name
        self.folder.mkdir(mode=0o700)
        account.own(self.folder)
        self._kept, self._account = kept, account
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], **become: Any) -> None:
        """Start it."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._kept.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **become,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9, of everything that works in its folder; nothing is left when this returns."""
        keeper.crash(self.folder)
        self.reap()

    def reap(self) -> None:
        """Take leave of a process that is dead."""
        if self._process is not None:
            self._process.wait()

    def logged(self) -> str:
        """Return the end of its log, as messages of failures quote it."""
        log = self.folder / "log"
        return f"\n-- {self.name}\n{log.read_text(errors='replace')[-3000:]}" if log.exists() else ""


class Etcd(Program):
    """What Patroni's members agree by; one is enough to be lost."""

    def __init__(self, kept: AccountFolder, account: Account) -> None:
        """Choose its ports."""
        super().__init__(kept, account, "etcd")
        self.port, self._peers = free_port(), free_port()

    def start(self) -> None:
        """Start it, with what it knew."""
        here, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peers}"
        self.launch([
            shutil.which("etcd") or "etcd", "--name=etcd", "--data-dir=data", "--listen-client-urls", here,
            "--advertise-client-urls", here, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
            "--initial-cluster", f"etcd={peers}",
        ], **self._account.becoming())  # fmt: skip
        until(lambda: _asked(self.port, "GET", "/health")[0] == 200 or not self.running, 20, f"etcd{self.logged()}")
        if not self.running:
            raise Failed(f"etcd has ended{self.logged()}")


class Member(Program):
    """A server of PostgreSQL and the Patroni that governs it."""

    def __init__(
        self,
        kept: AccountFolder,
        account: Account,
        name: str,
        installation: Installation,
        etcd: Etcd,
        times: Mapping[str, int],
    ) -> None:
        """Write what Patroni is told."""
        super().__init__(kept, account, name)
        self.port, self._rest = free_port(), free_port()
        self.data = self.folder / "data"
        parameters = {**{name: value for name, value in SETTINGS.items() if name != "listen_addresses"}}
        agreed = {
            **times, **AGREED,
            "postgresql": {
                **AGREED["postgresql"], "parameters": {**parameters, **AGREED["postgresql"]["parameters"]},
                "pg_hba": [line for line in ACCESS.splitlines() if "+" not in line],
            },
        }  # fmt: skip
        rest = f"127.0.0.1:{self._rest}"
        told = {
            "scope": "headway", "name": name, "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{etcd.port}"},
            "bootstrap": {"dcs": agreed, "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"]},
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}", "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data), "bin_dir": str(installation.programs),
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
                "parameters": {"unix_socket_directories": str(self.folder)},
            },
        }  # fmt: skip
        (self.folder / "patroni.yml").write_text(json.dumps(told))  # all JSON is YAML
        account.own(self.folder / "patroni.yml")

    def start(self) -> None:
        """Start Patroni, which starts the server when it knows as what."""
        self.launch([*python(self._account), "-m", "patroni", "patroni.yml"])

    def kill_server(self) -> None:
        """kill -9 of PostgreSQL alone, with all its processes."""
        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        for one in (pid, *(found for found in keeper.processes(self.data) if found != pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)

    def kill_patroni(self) -> None:
        """kill -9 of Patroni alone: the server goes on as whatever it is, and nobody tells it anything any more."""
        assert self._process is not None
        self._process.kill()
        self.reap()

    def stop_sending(self) -> None:
        """Keep from the standbys what is written from now on: what sends it stands still until it is killed."""
        for (pid,) in self.query("SELECT pid FROM pg_stat_replication"):
            os.kill(pid, signal.SIGSTOP)

    def is_a(self, role: str) -> bool:
        """Return whether Patroni says so of it: `primary` who holds the lock, `replica`, `sync` who has all that is confirmed."""
        return self.running and _asked(self._rest, "GET", f"/{role}")[0] == 200

    def ask(self, path: str, **body: Any) -> tuple[int, str]:
        """Have Patroni do something, as patronictl does; return its answer."""
        return _asked(self._rest, "POST", path, json.dumps(body), timeout_s=60)

    def query(self, statement: str, *binds: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Carry out a statement on this server, as superuser; return its rows."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return query(url, statement, *binds, connect_timeout=5)

    def takes_writes(self) -> bool:
        """Return whether the server itself would take some, whatever Patroni says."""
        try:
            return self.query("SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg.OperationalError:
            return False


class Patroni(Servers):
    """The members, of whom one is the primary and confirms nothing that its synchronous standby has not on its disk."""

    def __init__(self, installation: Installation | None = None, times: Mapping[str, int] = TIMES) -> None:
        """Nothing is made yet."""
        self._installation, self._times = installation or find(), times
        self._account = Account.for_servers()
        self._kept: AccountFolder | None = None
        self._databases = (f"test_{number}" for number in itertools.count(1))
        self.members: tuple[Member, ...] = ()
        self.etcd: Etcd

    def start(self) -> Self:
        """Start etcd and the members, and wait until they are whole."""
        if why := missing(self._account):
            raise PostgresUnavailable(why)
        self._kept = AccountFolder(self._account)
        installation = self._installation.within_reach(self._account, self._kept.folder)
        self.etcd = Etcd(self._kept, self._account)
        self.members = tuple(
            Member(self._kept, self._account, name, installation, self.etcd, self._times) for name in NAMES
        )
        self.etcd.start()
        for member in self.members:
            member.start()
        self.wait_until_whole()
        return self

    def close(self) -> None:
        """End all of it, and remove everything."""
        if self._kept is not None:
            self._kept.close()
            for program in (*self.members, self.etcd):
                program.reap()
        self._kept = None

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        assert self._kept is not None, "it was not started"
        return self._kept.folder

    @property
    def primary(self) -> Member:
        """The one that holds the lock and takes writes, as soon as there is one."""

        def look() -> Member | None:
            found = self._first("primary")
            return found if found is not None and found.takes_writes() else None

        return until(look, 60, f"there is a primary{self.logged()}")

    @property
    def synchronous(self) -> Member:
        """The standby that has whatever was confirmed, as soon as there is one."""
        return until(lambda: self._first("sync"), 60, f"there is a synchronous standby{self.logged()}")

    def wait_until_whole(self, within_s: float = 120) -> None:
        """Wait until there is a primary that waits for a standby at each commit, as etcd knows too, and all follow it."""

        def whole() -> bool:
            primary = self._first("primary")
            # Who is not known in etcd to be synchronous is not promoted, whatever it has.
            if primary is None or self._first("sync") is None:
                return False
            if sum(member.is_a("replica") for member in self.members) != len(self.members) - 1:
                return False
            with contextlib.suppress(psycopg.OperationalError):
                states = primary.query("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'")
                return sorted(states) == [("async",), ("sync",)]
            return False

        until(whole, within_s, f"the members are whole{self.logged()}")

    def switch_over(self) -> Member:
        """Have the synchronous standby be the primary, as `patronictl switchover` does; return whoever was."""
        before, after = self.primary, self.synchronous
        status, said = before.ask("/switchover", leader=before.name, candidate=after.name)
        assert status == 200, said
        return before

    def create_database(self) -> str:
        """Make an empty database; return its name."""
        name = next(self._databases)
        execute(self.url(), "CREATE DATABASE {}", sql.Identifier(name))
        return name

    def url(self, database: str = "postgres") -> str:
        """Return a URL that names all members and connects to whichever is the primary."""
        return primary_url((member.port for member in self.members), database)

    def logged(self) -> str:
        """Return the ends of all logs."""
        return "".join(program.logged() for program in (*self.members, self.etcd))

    def _first(self, role: str) -> Member | None:
        return next((member for member in self.members if member.is_a(role)), None)


def _asked(port: int, method: str, path: str, body: str = "", timeout_s: float = 5) -> tuple[int, str]:
    """Return status and text of an answer over HTTP; status 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
