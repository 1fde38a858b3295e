"""`headway record-tasks`, `headway mail-server` and what the client has for them, against a real server."""

import asyncio
import io
import json

import pytest
from tests.faults.server import Deployment, Server

from headway.client.aio.client import AsyncClient
from headway.client.sync.client import Client
from headway.errors import Conflict, InvalidInput, NotFound, RecordTaskNotFound, VersionMismatch

BY_NAME = {"template": "{{ record.Name }}"}
"""A number only for who is called like one."""


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("record-tasks"))
    server = Server(deployment, HEADWAY_OUTBOUND_ALLOW="127.0.0.1").start()
    yield server
    server.kill()
    deployment.clean_up()


@pytest.fixture
def client(there):
    with Client(there.deployment.url) as made:
        yield made


@pytest.fixture
def table(client, request):
    """A table of the test's own, with a few records."""
    name = f"people {abs(hash(request.node.name))}"
    fields = [{"name": "Name"}, {"name": "Orders", "type": "number"}, {"name": "Status"}]
    made = client.tables.create(name, fields)
    for who, orders in (("1", 1), ("2", 20), ("Ann", 30), ("Bob", 40)):
        client.tables.insert(name, {"Name": who, "Orders": orders})
    yield name
    for task in client.record_tasks.list():
        if task.table_id == made.id:
            client.record_tasks.delete(task.name)
    client.tables.delete(name)


@pytest.fixture
def run(headway, there, monkeypatch):
    def asked(*words, code=0, stdin=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        found, out, err = headway(*words, "--url", there.deployment.url)
        assert found == code, (words, out, err)
        return out if code == 0 else err

    return asked


def values(client, table, field):
    return {record.values["Name"]: record.values[field] for record in client.tables.records(table)}


def test_a_record_task_is_made_shown_run_changed_and_removed(run, client, table):
    said = run("record-tasks", "create", "Mark", "-t", table, "--where", "Orders", "at least", "20", "--set", "Status=regular",
               "--on-error", "stop", "--description", "who buys much")  # fmt: skip
    assert said.startswith(f"Mark does update to records of {table}.")
    assert f"Mark\tactive\t{table}\tupdate\twho buys much" in run("record-tasks", "list")
    shown = json.loads(run("record-tasks", "show", "Mark", "--json"))
    assert shown["actions"] == [{"action": "update", "set": {"Status": "regular"}}]
    assert (shown["on_error"], shown["version"], shown["table"]) == ("stop", 1, table)
    assert "action 0" in run("record-tasks", "show", "Mark")
    run("run", "Mark")
    assert values(client, table, "Status") == {"1": None, "2": "regular", "Ann": "regular", "Bob": "regular"}
    assert run("record-tasks", "edit", "Mark", "--all-records", "--set", "Status:=null").startswith("Mark does update")
    run("run", "Mark")
    assert set(values(client, table, "Status").values()) == {None}
    assert json.loads(run("record-tasks", "show", "Mark", "--json"))["version"] == 2
    assert run("record-tasks", "delete", "Mark") == "Mark is removed\n"
    run("record-tasks", "show", "Mark", code=5)


def test_one_is_made_from_a_file_or_stdin_and_options_win(run, client, table, tmp_path):
    whole = {
        "name": "Whole",
        "table": table,
        "actions": [{"action": "update", "set": {"Status": "a"}}],
        "queue": "slow",
    }
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    run("record-tasks", "create", "--definition", f"@{tmp_path / 'whole.json'}")
    made = json.loads(run("record-tasks", "create", "Other", "--definition", "-", "--queue", "fast", "--inactive", "--json",
                          stdin=json.dumps(whole)))  # fmt: skip
    assert (made["name"], made["queue"], made["active"]) == ("Other", "fast", False)
    assert (client.record_tasks.get("Whole").queue, client.record_tasks.get("Whole").active) == ("slow", True)
    action = json.dumps({"action": "insert", "table": table, "set": {"Name": {"field": "Name"}}})
    run("record-tasks", "edit", "Whole", "--set", "Status=b", "--action", action)
    assert [one["action"] for one in client.record_tasks.get("Whole").actions] == ["update", "insert"]


def test_records_that_failed_are_listed_and_run_again_alone(run, client, table):
    run("record-tasks", "create", "Count", "-t", table, "--set", f"Orders:={json.dumps(BY_NAME)}")
    first = json.loads(run("run", "Count", "--json"))
    failed = json.loads(run("record-tasks", "errors", first["id"], "--json"))["data"]
    assert sorted(error["action"] for error in failed) == [0, 0]
    assert len(run("record-tasks", "errors", first["id"]).splitlines()) == 1 + 2
    assert len(run("record-tasks", "errors", first["id"], "-n", "1").splitlines()) == 1 + 1
    for error in failed:
        client.tables.update_record(table, error["record_id"], {"Name": "7"})
    again = run("record-tasks", "retry-failed", first["id"], "--idempotency-key", "once").strip()
    assert run("record-tasks", "retry-failed", first["id"], "--idempotency-key", "once").strip() == again
    assert client.runs.get(again).result()["done"] == 2
    assert sorted(record.values["Orders"] for record in client.tables.records(table)) == [1, 2, 7, 7]
    run("record-tasks", "retry-failed", again, code=6)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "X"], 2, "missing: table, actions"),
        (["create", "X", "-t", "nowhere", "--set", "A=b"], 5, "nowhere"),
        (["create", "X", "-t", "TABLE", "--set", "Nothing=b"], 2, "Nothing"),
        (["create", "X", "-t", "TABLE", "--set", "Status"], 2, "KEY=VALUE"),
        (["create", "X", "-t", "TABLE", "--action", "{"], 2, "--action is not JSON"),
        (["create", "X", "-t", "TABLE", "--action", "[]"], 2, "--action has to be a JSON object"),
        (["create", "--definition", '{"nmae": "X"}'], 2, "nmae"),
        (["create", "--definition", "@/nowhere.json"], 2, "cannot read"),
        (["edit", "X"], 2, "nothing to change; see --help"),
        (["edit", "X", "--definition", '{"name": "Y"}'], 2, "cannot be changed"),
        (["edit", "Nobody", "--set", "Status=a"], 5, "Nobody"),
        (["delete", "Nobody"], 5, "Nobody"),
        (["errors", "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81"], 5, "run"),
    ],
)
def test_what_cannot_be_is_said_with_its_exit_code(words, code, said, run, table):
    assert said in run("record-tasks", *(table if word == "TABLE" else word for word in words), code=code)


def test_a_task_of_that_name_is_a_conflict(run, table):
    run("record-tasks", "create", "Twice", "-t", table, "--set", "Status=a")
    run("record-tasks", "create", "Twice", "-t", table, "--set", "Status=a", code=6)


def test_the_client_says_what_is_wrong_by_its_class(client, table):
    tasks = client.record_tasks
    made = tasks.create(
        "Client",
        table,
        [{"action": "update", "set": {"Status": "a"}}],
        filter={"field": "Name", "operator": "is", "value": "1"},
    )
    assert tasks.update("Client", version=made.version, description="new").description == "new"
    for wrong, kind in (
        (lambda: tasks.update("Client", version=made.version, description="old"), VersionMismatch),
        (lambda: tasks.create("Client", table, made.actions), Conflict),
        (lambda: tasks.create("Bad", table, [{"action": "update", "set": {"Nothing": 1}}]), InvalidInput),
        (lambda: tasks.get("Nobody"), RecordTaskNotFound),
    ):
        with pytest.raises(kind):
            wrong()
    run = client.runs.start("Client")
    assert run.result()["done"] == 1
    assert list(tasks.errors(run.id)) == []
    with pytest.raises(Conflict):
        tasks.retry_failed(run.id)


def test_errors_come_in_pages_until_there_are_no_more(client, table, monkeypatch):
    monkeypatch.setattr("headway.client.sync.pages.PAGE_SIZE", 1)
    client.record_tasks.create("Paged", table, [{"action": "update", "set": {"Orders": BY_NAME}}])
    run = client.runs.start("Paged")
    run.result()
    found = [error.record_id for error in client.record_tasks.errors(run.id)]
    assert len(found) == len(set(found)) == 2
    assert found == sorted(found)


def test_the_async_client_has_the_same(there, table):
    async def go():
        async with AsyncClient(there.deployment.url) as client:
            await client.record_tasks.create("Async", table, [{"action": "update", "set": {"Orders": BY_NAME}}])
            run = await client.runs.start("Async")
            await run.result()
            return [error.code async for error in client.record_tasks.errors(run.id)], await client.record_tasks.list()

    errors, listed = asyncio.run(go())
    assert len(errors) == 2
    assert "Async" in [task.name for task in listed]


def test_a_mail_server_is_set_shown_without_its_password_and_forgotten(run, client, tmp_path):
    (tmp_path / "password").write_text("secret\n")
    run("mail-server", "show", code=5)
    words = ["mail-server", "set", "127.0.0.1", "--sender", "a@example.com", "--port", "2525", "--security", "plain"]
    assert "port 2525" in run(*words, "--username", "me", "--password-file", str(tmp_path / "password"))
    shown = run("mail-server", "show")
    assert "secret" not in shown
    assert "kept" in shown
    assert json.loads(run("mail-server", "show", "--json"))["has_password"] is True
    run(*words, "--username", "me")
    assert client.mail_server.get().has_password, "what is not said of it stays"
    run(*words, "--username", "other", code=2)
    run(*words, "--username", "other", "--password-file", "-", stdin="other\n")
    run(*words, "--password-file", "/nowhere", code=2)
    run("mail-server", "delete")
    with pytest.raises(NotFound):
        client.mail_server.get()
