"""Every command on streams that cannot take its answer: a closed pipe, a full disk, ASCII, no stdout at all.

None of them ends with a traceback, nor with 1, which means that the run has failed.
"""

import contextlib

import click
import pytest

import headway
from headway.cli.main import root
from headway.clock import SystemClock
from headway.protocol import times

WAYS = ("pipe", "full", "ascii", "closed")

COMMANDS = """
run greet
run greet -d
runs list
runs list --json
runs list --all
runs show {done}
runs watch {done}
runs watch {done} --json
runs logs {done}
runs logs {done} --follow
runs results {done}
runs attempts {done}
runs events {done}
runs why {done}
runs count
runs protect {done}
runs unprotect {done}
runs signal {waiting} go
runs suspend {waiting}
runs stop {waiting}
runs resume {other}
runs retry {failed}
runs delete {done}
runs bulk protect --label way={way} --yes
tasks list
tasks show greet
tasks deactivate spare
tasks activate spare
queues list
queues pause q-{way}
queues resume q-{way}
queues limit q-{way} 3
tables list
tables show t-{way}
tables create other-{way} --field Name
tables insert t-{way} Name=日本
tables records t-{way}
tables update t-{way} {record} Name=語
tables import t-{way} {csv}
tables export t-{way}
tables remove t-{way} {record}
tables delete t-{way} --yes
servers list
schedules list
schedules show s-{way}
schedules create s2-{way} Daily greet -z UTC
schedules edit s-{way} --description 日本
schedules pause s-{way}
schedules resume s-{way}
schedules trigger s-{way}
schedules preview s-{way}
schedules slots s-{way}
schedules backfill s-{way} --from {from} --to {to}
schedules delete s-{way}
record-tasks list
record-tasks create r-{way} -t keep --set Name=x
record-tasks show r-{way}
record-tasks edit r-{way} --description 日本
record-tasks errors {records}
record-tasks delete r-{way}
mail-server set mail.example --sender a@example.com --sender-name 日本
mail-server show
mail-server delete
workers list
workers show {worker}
keys list
keys generate
keys create k-{way} --scope read
keys show {key}
keys whoami
keys generate
keys rotate {key}
keys revoke {key}
users create 日本-{way}
users list
users disable {user}
users enable {user}
organisations create 日本-{way}
organisations list
organisations update {organisation} --name 語-{way}
organisations disable {organisation}
organisations enable {organisation}
doctor --store {store}
backup {folder}/{way}.backup --store {store}
restore {folder}/whole.backup --store sqlite:///{folder}/{way}.db
openapi
completion bash
""".strip().splitlines()
ELSEWHERE = {
    "record-tasks retry-failed": "takes a run in which records failed, and prints by `show.started`",
    "workers drain": "would take the worker from the others, and prints by `show.answer`",
    "serve": "says everything on stderr: see below",
    "worker": "says everything on stderr",
    "bench": "measures for half a minute, and prints by the same functions",
    "migrate-store": "needs PostgreSQL, and prints one sentence by `show.answer`",
}


def leaves(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield from leaves(command, (*path, name)) if isinstance(command, click.Group) else [" ".join((*path, name))]


def test_the_table_has_every_command():
    missing = [name for name in leaves(root) if not any(f"{line} ".startswith(f"{name} ") for line in COMMANDS)]
    assert set(missing) == set(ELSEWHERE)


def things(client, folder, way):
    """Make what the commands of one way change."""
    started = {name: client.runs.start("greet" if name != "failed" else "broken", labels={"way": way},
                                       delay="1h" if name in {"waiting", "other"} else None)
               for name in ("done", "failed", "waiting", "other")}  # fmt: skip
    for name in ("done", "failed"):
        started[name].wait(60)
    started["other"].suspend()
    with contextlib.suppress(headway.HeadwayError):
        client.record_tasks.create("all", "keep", [{"action": "update", "set": {"Name": "x"}}])
    started["records"] = client.runs.start("all")
    started["records"].wait(60)
    client.runs.start("greet", queue=f"q-{way}", delay="1h")
    client.tables.create(f"t-{way}", [{"name": "Name"}])
    client.schedules.create(f"s-{way}", "greet", "Daily", timezone="UTC")
    (folder / f"{way}.csv").write_text("Name\n日本\n")
    return {
        **{name: handle.id for name, handle in started.items()},
        "way": way,
        "folder": folder,
        "store": f"sqlite:///{folder}/headway.db",
        "csv": folder / f"{way}.csv",
        "record": client.tables.insert(f"t-{way}", {"Name": "a"}).id,
        "worker": client.workers.list()[0].id,
        "key": client.keys.create(f"a-{way}").id,
        "user": client.users.create(f"u-{way}").id,
        "organisation": client.organisations.create(f"o-{way}").id,
        "from": times.to_text(SystemClock().now_ms() - 60_000),
        "to": times.to_text(SystemClock().now_ms()),
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
def test_no_command_ends_with_a_traceback_or_as_if_its_run_had_failed(server, carry_out, way):
    client, _, _, folder = server
    with contextlib.suppress(headway.HeadwayError):
        client.tables.create("keep", [{"name": "Name"}])
    named = things(client, folder, way)
    if not (folder / "whole.backup").exists():
        carry_out("ascii", ["backup", f"{folder}/whole.backup", "--store", named["store"]])
    wrong = []
    for command in COMMANDS:
        code, out, err = carry_out(way, [word.format(**named) for word in command.split(" ")])
        allowed = {0, 8} if way == "full" else {0, 130} if way == "pipe" and "watch" in command else {0}
        plain = out.isascii() or command.startswith("tables export")  # a file, which is UTF-8
        if code not in allowed or "Traceback" in err or not plain or (code == 8) != ("not be written" in err):
            wrong.append((command, code, out[-200:], err[-400:]))
    assert not wrong, "\n".join(map(str, wrong))
