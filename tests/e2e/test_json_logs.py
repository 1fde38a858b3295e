"""Logs as JSON: every line of a server and its workers is one object whose first four fields are always the same."""

import json
import signal
import sys

import pytest
from tests.e2e.programs import Caller
from tests.faults.server import Process, Server
from tests.faults.waiting import until

APP = "tests.e2e.talkative:app"
FIELDS = ["time", "level", "logger", "message"]


def records(deployment):
    found = [json.loads(line) for line in deployment.logged().splitlines()]
    for record in found:
        assert list(record)[:4] == FIELDS, record
        assert all(isinstance(record[name], str) for name in FIELDS), record
    return found


def messages(found, logger):
    return [record["message"] for record in found if record["logger"] == logger]


def heard(deployment, message):
    return any(record["message"] == message for record in records(deployment))


def test_a_server_and_its_workers_write_nothing_but_records(deployment):
    server = Server(
        deployment, "--log-format", "json", "--access-log", app=APP, PYTHONIOENCODING="utf-8:surrogateescape"
    ).start()
    server.knows("talk")
    assert server.final(server.started("talk"))["output"] == "done"
    until(lambda: heard(deployment, '{"time": "now", "is": "ours"}'), 20, deployment.logged)
    assert server.stop() == 0
    found = records(deployment)
    assert any(message.startswith("Headway ") for message in messages(found, "headway"))
    output = [record for record in found if record["logger"] == "headway.worker.output"]
    assert [record["message"] for record in output][:3] == ["one", "two \x1b[31mred �", '{"time": "now", "is": "ours"}']
    assert {record["worker"] for record in output} == {1}
    (connected,) = [record for record in found if record["logger"] == "headway.worker"]
    assert (connected["level"], connected["message"], connected["worker"]) == ("info", "connected, with 1 task", 1)
    (failed,) = [record for record in found if record["logger"] == "theirs"]
    assert (failed["level"], failed["message"], failed["worker"]) == ("error", "it failed", 1)
    assert "ValueError: first\nsecond" in failed["exception"]
    assert {"method": "POST", "path": "/v1/runs", "status": 202}.items() <= next(
        record for record in found if record["logger"] == "headway.access" and record["method"] == "POST"
        and record["path"] == "/v1/runs"
    ).items()  # fmt: skip


def test_levels_hold_for_the_server_and_its_workers(deployment):
    server = Server(deployment, "--log-level", "warning", "--log-format", "json", "--access-log", app=APP).start()
    server.knows("talk")
    assert server.final(server.started("talk"))["output"] == "done"
    until(lambda: messages(records(deployment), "headway.worker.output"), 20, deployment.logged)
    assert server.stop() == 0
    found = records(deployment)
    assert messages(found, "headway.worker") == []
    assert {
        record["level"] for record in found if record["logger"] not in ("headway.worker.output", "headway.access")
    } == {"error"}
    assert messages(found, "headway.access"), "whoever asks for it gets it at any level"


def test_workers_of_another_machine_take_form_and_level_from_their_options_or_the_environment(deployment):
    server = Server(deployment).start()
    command = [sys.executable, "-m", "headway", "worker", APP, "--server", deployment.url]
    deployment.log = deployment.folder / "worker-log"
    worker = Process(deployment, command, HEADWAY_LOG_FORMAT="json", HEADWAY_NONSENSE="1")
    until(lambda: deployment.logged().count("\n") >= 2, 20, deployment.logged)
    found = records(deployment)
    assert messages(found, "headway.worker") == ["connected, with 1 task"]
    assert messages(found, "headway")[0].startswith("Warning: HEADWAY_NONSENSE is no setting")
    worker.send(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert server.stop() == 0


def test_a_refusal_to_start_is_a_record_too(deployment):
    headway = Caller(deployment)
    said = headway("serve", "--host", "0.0.0.0", "--log-format", "json", "--store", deployment.store_url, code=2)
    (record,) = [json.loads(line) for line in said.splitlines()]
    assert (record["level"], record["logger"]) == ("error", "headway")
    assert "refusing to listen on 0.0.0.0" in record["message"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--log-format", "xml"), "is not text or json"),
        (("--log-level", "loud"), "is not debug, info, warning or error"),
    ],
)
def test_other_forms_and_levels_are_refused(deployment, wrong, said):
    assert said in Caller(deployment)("serve", *wrong, code=2)
