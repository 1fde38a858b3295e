"""A day with the service, by its commands alone: every command meets a real server, real workers and a real store."""

import json
import os
import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.programs import HEADWAY
from tests.faults.server import Deployment, Process, Server
from tests.faults.verdict import clean
from tests.faults.waiting import until


@pytest.fixture
def together():
    """Carry calls out at the same time: each is a process that takes a third of a second to begin."""
    with ThreadPoolExecutor(4) as pool:

        def run(*calls):
            return [future.result() for future in [pool.submit(call) for call in calls]]

        yield run


def test_a_day_with_the_backup(deployment, headway, together):
    server = Server(deployment, app="examples.backup:app").start()
    server.knows("backup")
    data = deployment.folder / "data"
    data.mkdir()
    (data / "a.txt").write_text("a" * 1000)
    archive = deployment.folder / "a.zip"

    done = json.loads(headway("run", "backup", f"folder={data}", f"target={archive}"))
    assert (done["files"], done["archive"]) == (1, str(archive))
    with zipfile.ZipFile(archive) as bundle:
        assert bundle.read("a.txt") == b"a" * 1000

    headway("queues", "pause", "default")
    waiting = headway("run", "backup", f"folder={data}", "--detach").strip()
    listed, why, tasks, queues, workers = together(
        lambda: headway("runs", "list", "--json"),
        lambda: headway("runs", "why", waiting),
        lambda: headway("tasks", "list"),
        lambda: headway("queues", "list"),
        lambda: headway("workers", "list"),
    )
    newer, older = json.loads(listed)["data"]
    assert (newer["id"], newer["state"], older["state"]) == (waiting, "queued", "succeeded")
    assert "the queue 'default' is paused" in why
    assert "backup" in tasks
    assert queues.splitlines()[1].split("\t")[:2] == ["default", "yes"]
    assert "examples" not in workers, "a worker is named after its host"
    assert len([row for row in workers.splitlines() if "local-1" in row]) == 1

    stopped, _ = together(
        lambda: headway("runs", "stop", waiting, "-m", "not now"), lambda: headway("tasks", "show", "backup")
    )
    assert stopped == f"{waiting}  terminated\n"
    headway("queues", "resume", "default")
    again = headway("runs", "retry", waiting, "--watch")
    assert json.loads(again)["files"] == 1
    shown, logs, events, _, counted, missing = together(
        lambda: headway("runs", "show", waiting),
        lambda: headway("runs", "logs", older["id"]),
        lambda: headway("runs", "events", older["id"]),
        lambda: headway("runs", "protect", older["id"]),
        lambda: headway("runs", "count"),
        lambda: headway("runs", "show", "0199a000-0000-7000-8000-000000000001", code=5),
    )
    assert "not now" in shown
    assert "1 files in" in logs
    assert "succeeded" in events
    assert "succeeded\t2" in counted
    assert missing.startswith("Error: ")
    assert headway("runs", "delete", older["id"], code=6).startswith("Error: ")
    assert server.stop() == 0
    assert clean(deployment) == []


def test_a_backup_of_the_store_while_it_runs_is_the_same_service_elsewhere(deployment, headway, tmp_path):
    server = Server(deployment, app="examples.backup:app").start()
    server.knows("backup")
    (deployment.folder / "data").mkdir()
    run = json.loads(headway("--json", "run", "backup", f"folder={deployment.folder / 'data'}"))
    copy, there = tmp_path / "copy", tmp_path / "there" / "headway.db"
    store = f"sqlite:///{deployment.store}"
    headway("doctor", "--verify", "--store", store)
    headway("backup", str(copy), "--store", store)
    assert "move that store away first" in headway("restore", str(copy), "--store", store, code=1)
    headway("restore", str(copy), "--store", f"sqlite:///{there}", "--make-folder")
    headway("doctor", "--verify", "--store", f"sqlite:///{there}")
    other = Deployment(tmp_path, there)
    try:
        restored = Server(other).start()
        assert restored.run(run["id"]) == server.run(run["id"])
        assert restored.stop() == 0
    finally:
        other.clean_up()
    assert server.stop() == 0


def test_a_store_or_a_port_in_use_is_one_sentence(deployment, headway, tmp_path):
    server = Server(deployment).start()
    used = f"sqlite:///{deployment.store}"
    said = headway("serve", "--store", used, "--port", "0", code=1)
    assert (said.count("\n"), "is in use by another server; stop it first" in said) == (1, True)
    said = headway("serve", "--store", f"sqlite:///{tmp_path / 'new.db'}", "--port", str(deployment.port), code=2)
    assert (said.count("\n"), "give another --port" in said) == (1, True)
    assert not (tmp_path / "new.db").exists()
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["HEADWAY_OUTBOUND_ALLOW", "HEADWAY_OUTBOUND_REFUSE", "HEADWAY_EXTERNAL_ALLOW"])
def test_a_network_that_cannot_be_read_is_one_sentence(headway, tmp_path, name):
    said = headway(
        "serve", "--store", f"sqlite:///{tmp_path / 'new.db'}", "--port", "0", code=2, **{name: "10.0.0.0/99"}
    )
    assert (said.count("\n"), "10.0.0.0/99" in said) == (1, True)


def test_an_app_that_is_not_there_leaves_what_to_do_on_the_last_line(deployment, headway):
    server = Server(deployment, app="no.such:app").start()
    until(lambda: "cannot load" in deployment.logged(), 20, "the worker has given up")
    banner, *_, last = [line for line in deployment.logged().splitlines() if not line.startswith("[worker")]
    assert banner.startswith("Headway ")
    assert "cannot load the app (see above)" in last
    assert "name another MODULE:APP" in last
    assert server.stop() == 0
    assert headway("worker", "no.such:app", "--server", "http://127.0.0.1:1", code=2)


def test_workers_elsewhere_execute_the_other_examples(deployment, headway, together, tmp_path):
    server = Server(deployment).start()
    workers = [
        Process(deployment, [*HEADWAY, "worker", "--server", deployment.url, f"examples.{name}:app"])
        for name in ("fanout", "approval", "nightly")
    ]
    for task in ("count_folder", "publish_by_link", "nightly_report"):
        server.knows(task)
    for number in range(3):
        (tmp_path / f"{number}.md").write_text("three words here")
    log, report = tmp_path / "access.log", tmp_path / "report.json"
    log.write_text('- - - [t] "GET / HTTP/1.1" 200 12\n- - - [t] "GET /y HTTP/1.1" 404 0\n')

    counted, reported, by_signal, by_link = together(
        lambda: json.loads(headway("run", "count_folder", f"folder={tmp_path}")),
        lambda: json.loads(headway("run", "nightly_report", f"log={log}", f"target={report}")),
        lambda: headway("run", "publish", "title=News", "--detach").strip(),
        lambda: headway("run", "publish_by_link", "title=Prices", "--detach").strip(),
    )
    assert counted == {"files": 3, "words": 9}
    assert reported == json.loads(report.read_text()) == {"requests": 2, "by_class": {"2xx": 1, "4xx": 1}}

    for run_id in (by_signal, by_link):
        until(lambda run_id=run_id: server.run(run_id)["state"] == "suspended", 20, "it waits for a person")
    ask = server.get(f"/v1/runs/{by_link}/results")["data"][0]["value"]
    why, _, _ = together(
        lambda: headway("runs", "why", by_link),
        lambda: headway("runs", "signal", by_signal, "approval", '{"by": "Ann", "ok": true}'),
        lambda: server.post(f"/v1/tokens/{ask['token']}:complete", {"value": True}),
    )
    assert by_link in why
    assert server.final(by_signal)["output"] == {"published": True, "text": "News: all new, all better.", "by": "Ann"}
    assert server.final(by_link)["output"] == {"published": True, "text": "Prices: all new, all better."}

    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert [worker.wait(20) for worker in workers] == [0, 0, 0]
    assert server.stop() == 0
    assert clean(deployment) == []
