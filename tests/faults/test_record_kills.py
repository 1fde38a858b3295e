"""The server is killed with -9 in the middle of record tasks: each record is changed exactly once, and sent at least once."""

import asyncio
import json
import random
import signal
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import apsw
import msgspec
import pytest
from tests.faults.results import note
from tests.faults.server import Server
from tests.faults.stores import ON_BOTH, kills
from tests.faults.verdict import clean, opened
from tests.faults.waiting import pause

from headway.clock import SystemClock
from headway.config import Settings
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.definitions import Tables
from headway.features.tables.records import Records
from headway.ids import Signer
from headway.outbound.egress import EgressPolicy
from headway.outbound.gateway import Gateway
from headway.protocol.record_tasks import CreateRecordTask
from headway.protocol.tables import CreateTable
from headway.protocol.workers import RegisterWorker
from headway.runs.service import Service
from headway.server import FEATURES
from headway.store.postgres.open import open_postgres, prepare
from headway.store.sqlite.open import open_file

CUSTOMERS = 50
FINAL = {"succeeded", "failed", "terminated"}


def furnish(deployment, records, *tasks):
    """Make customers, orders that name them, and tasks, before a server holds the store."""

    async def make():
        if deployment.kind == "postgres":
            prepare(deployment.store_url, SystemClock())
            store = open_postgres(deployment.store_url, SystemClock(), server_id="maker", host="h", pid=1, version="0")
        else:
            store = open_file(deployment.store, SystemClock(), reserve_bytes=0)
        store.start()
        service = Service(
            store, Signer(b"x" * 32), Settings(), features=FEATURES, gateway=Gateway(EgressPolicy(["127.0.0.1"]))
        )
        if deployment.kind == "postgres":
            await service.servers.join()
        services = service.of(1)
        balance = {"name": "Balance", "type": "number", "default": 0}
        await services.get(Tables).create(
            msgspec.convert({"name": "customers", "fields": [{"name": "Name"}, balance]}, CreateTable)
        )
        named = [{"Name": f"c{number}"} for number in range(CUSTOMERS)]
        customers = (await services.get(Records).insert("customers", named)).records
        fields = [
            {"name": "Number", "type": "number"}, {"name": "Times", "type": "number", "default": 0}, {"name": "Note"},
            {"name": "Customer", "type": "connection", "table": "customers"}, {"name": "Mark", "indexed": True},
        ]  # fmt: skip
        await services.get(Tables).create(msgspec.convert({"name": "orders", "fields": fields}, CreateTable))
        orders = [{"Number": number, "Customer": customers[number % CUSTOMERS].id} for number in range(records)]
        for at in range(0, records, 1000):
            await services.get(Records).insert("orders", orders[at : at + 1000])
        order = {"name": "Order", "type": "number", "unique": True}
        await services.get(Tables).create(msgspec.convert({"name": "log", "fields": [order]}, CreateTable))
        nobody = msgspec.convert({"tasks": [{"name": "count"}]}, RegisterWorker)  # whose runs wait
        await service.of(1).workers.register(nobody)
        for task in tasks:
            await services.get(RecordTasks).create(msgspec.convert({"table": "orders", **task}, CreateRecordTask))
        await service.gateway.close()
        if deployment.kind == "postgres":
            await service.servers.leave()
        await store.close()

    asyncio.run(make())


def killed_while_it_runs(server, run_id, times):
    """Kill the server so often while the run goes on, each time after it has come further; return how often that was.

    It is let go on for moments, and looked at from outside while it stands still: no run is too fast for that.
    """
    died, reached = 0, 0
    with opened(server.deployment) as store:
        while died < times:
            server.process.send(signal.SIGSTOP)
            try:
                ((state, done),) = store.execute(
                    f"SELECT state, progress_done FROM runs WHERE id = '{run_id}'"
                ).fetchall()
            except (apsw.BusyError, apsw.ProtocolError):
                state, done = "out of sight", 0  # it stands still with the file in its hands
            if done > reached and state == "running":
                reached = done
                server.kill()
                server.start()
                died += 1
            else:
                server.process.send(signal.SIGCONT)
                if state in FINAL:
                    break
            pause(random.uniform(0, 0.004))
    return died


def rows(deployment, table):
    """Return (version, values by field) of every record of a table."""
    with opened(deployment) as connection:
        found = connection.execute(
            f"SELECT version, data FROM records WHERE table_number = (SELECT number FROM tables WHERE name = '{table}')"
        )
        return [(version, json.loads(data)) for version, data in found.fetchall()]


TASKS = {
    "one statement for many": [{"action": "update", "set": {"Note": "seen"}}],
    "each for itself": [
        {"action": "update", "set": {"Times": {"template": "{{ record.Times + 1 }}"}}},
        {"action": "update_connected", "connection": "Customer", "set": {"Name": {"field": "Note"}}},
        {"action": "insert", "table": "log", "set": {"Order": {"field": "Number"}}},
        {"action": "run", "task": "count"},
    ],
}  # fmt: skip


@kills({"sqlite": 3, "postgres": 1}, many=60, within_s=300)
def test_each_record_is_changed_exactly_once_whatever_is_killed(deployment, kills):
    records, again = 6_000, 4
    alike = {
        f"{name} {number}": [{"action": "update", "set": {field: f"seen {number}"}}]
        for name, field in (("Patch", "Note"), ("Indexed", "Mark"))
        for number in range(again)
    }
    actions = {**alike, "Each": TASKS["each for itself"]}
    furnish(deployment, records, *({"name": name, "actions": done} for name, done in actions.items()))
    server = Server(deployment, "--lease", "1500ms").start()
    died = Counter()
    rounds = ["Patch 0", "Indexed 0", "Each"]
    for name in rounds:
        run_id = server.started(name)
        what, _, number = name.partition(" ")
        died[what] += killed_while_it_runs(server, run_id, kills)
        if number and died[what] < kills and int(number) + 1 < again:
            rounds.append(f"{what} {int(number) + 1}")  # it was over before the kill: the like is done once more
        run = server.final(run_id, 120)
        assert run["state"] == "succeeded", run
        assert run["progress"]["done"] == records
        assert server.get(f"/v1/runs/{run_id}/output")["output"] == {"total": records, "done": records, "failed": 0}
    assert all(died[what] >= 1 for what in ("Patch", "Indexed", "Each")), died
    assert server.stop() == 0
    orders = rows(deployment, "orders")
    changed = Counter(version - 1 for version, _ in orders)
    note(
        "kill -9 of the server in the middle of a record task", deployment.kind, tries=died.total(),
        acknowledged=records * len(rounds), lost=sum(max(len(rounds) - times, 0) * many for times, many in changed.items()),
        doubled=sum(max(times - len(rounds), 0) * many for times, many in changed.items()),
    )  # fmt: skip
    assert changed == {len(rounds): records}
    assert {values["field_2"] for _, values in orders} == {1}
    last = {name.partition(" ")[0]: name.replace(name.partition(" ")[0], "seen") for name in rounds}
    assert {(values["field_3"], values["field_5"]) for _, values in orders} == {(last["Patch"], last["Indexed"])}
    logged = Counter(values["field_1"] for _, values in rows(deployment, "log"))
    assert len(logged) == records
    assert set(logged.values()) == {1}
    with opened(deployment) as connection:
        (started,) = connection.execute("SELECT count(*) FROM runs WHERE task = 'count'").fetchone()
    assert started == records
    assert clean(deployment) == []


class Receiver:
    """A web server that counts by message id, and answers slowly enough to be in the middle of something."""

    def __init__(self):
        self.seen = Counter()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.seen[self.headers["webhook-id"], json.loads(body)["record"]["values"]["Number"]] += 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@ON_BOTH
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # connections die with the server
def test_every_record_is_sent_and_what_is_sent_again_has_the_same_name(deployment):
    records = 400
    with Receiver() as receiver:
        call = {
            "name": "Call",
            "actions": [{"action": "webhook", "url": receiver.url}, *TASKS["one statement for many"]],
        }
        furnish(deployment, records, call)
        server = Server(deployment, "--lease", "1500ms", HEADWAY_OUTBOUND_ALLOW="127.0.0.1").start()
        run_id = server.started("Call")
        died = killed_while_it_runs(server, run_id, 3)
        run = server.final(run_id, 120)
        assert run["state"] == "succeeded", run
        assert died >= 1
        assert server.stop() == 0
    assert sorted(number for _, number in receiver.seen) == list(range(records)), "each of them, under one name"
    assert sum(receiver.seen.values()) <= records + 16 * died
    assert Counter(version for version, _ in rows(deployment, "orders")) == {2: records}
    assert clean(deployment) == []
