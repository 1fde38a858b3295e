"""The command line against a server that answers from a script: output, errors, exit codes."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client import samples
from tests.client.samples import END, ID, line, progress, snapshot, sse
from tests.client.server import Answer, problem, script, serving, stream

from headway.cli.main import TABLE

ROOT = Path(__file__).parents[2]
DONE = Answer(200, samples.run("succeeded", output={"files": 3}, started_at="2026-11-22T01:00:00.000Z",
                               finished_at="2026-11-22T01:00:02.500Z"))  # fmt: skip


def log_line(seq, message, level="info"):
    return line(seq, "run.log", level=level, message=message)


def nobody_knows_the_task():
    return problem(404, "task_not_found", "No task has that name")


def life(*chunks):
    return script(Answer(202, samples.run()), stream(snapshot(0), *chunks, END), DONE)


def test_run_shows_the_life_of_a_run_and_prints_its_result(headway):
    chunks = (
        line(1, state="running"),
        progress(1, 2),
        log_line(2, "half way"),
        progress(2, 2),
        line(3, state="succeeded"),
    )
    with serving(life(*chunks)) as fake:
        code, out, err = headway(
            "run", "backup", 'folder:="/srv"', "level:=9", "--url", fake.url, "-l", "customer=7", "-p", "9"
        )
    assert (code, json.loads(out)) == (0, {"files": 3})
    assert err.splitlines()[:5] == [
        "state: running",
        "progress: 1/2 (50 %) f",
        "info: half way",
        "progress: 2/2 (100 %) f",
        "state: succeeded",
    ]
    assert "backup succeeded after 2.5 s" in err
    body = fake.requests[0].json()
    assert body["input"] == {"folder": "/srv", "level": 9}
    assert (body["labels"], body["priority"]) == ({"customer": "7"}, 9)


def test_a_run_that_the_key_may_not_watch_is_named_so_that_nobody_starts_it_again(headway):
    brief = {
        "brief": True,
        "id": ID,
        "object": "run",
        "state": "queued",
        "final": False,
        "version": 1,
        "url": f"/v1/runs/{ID}",
    }
    refused = problem(403, "forbidden", "this needs the scope run:read", scope="run:read")
    for options in ([], ["--json"]):
        with serving(script(Answer(202, brief), refused)) as fake:
            code, out, err = headway("run", "backup", "--url", fake.url, *options)
        assert (code, out) == (1, "")
        assert f"run {ID} is queued, and the key may not watch it: this needs the scope run:read" in err


def test_run_in_a_pipe_says_in_one_line_why_it_is_tried_again_what_it_waits_for_and_how_long_it_takes(headway):
    chunks = (
        line(1, state="running", cause="claimed", attempt=1),
        line(
            2,
            state="scheduled",
            cause="errored",
            run_at=4_000_000_000_000,
            error={"type": "OSError", "message": "full"},
        ),
        line(3, state="running", cause="claimed", attempt=2),
        progress(1, 2, eta="2099-01-01T00:00:00.000Z"),
        line(4, state="suspended", blocked_on=[{"kind": "run", "run_id": ID}]),
        line(5, state="stopping", reason={"code": "terminated", "message": "enough", "actor": "Ann"}),
    )
    with serving(life(*chunks)) as fake:
        _, _, err = headway("run", "backup", "--url", fake.url)
    shown = re.sub(r"\d+ d \d+ h", "LONG", err).splitlines()
    assert shown[:6] == [
        "state: running",
        "state: scheduled: attempt 1 of 3 failed: OSError: full; the next in LONG",
        "state: running",
        "progress: 1/2 (50 %), LONG left f",
        f"state: suspended: waits for run {ID}",
        "state: stopping: enough (by Ann)",
    ]


def test_a_run_that_waits_for_a_token_names_it_and_suggests_no_signal(headway):
    found = samples.run("suspended", blocked_on=[{"kind": "signal", "name": "token:tok"}])
    shown = sse("snapshot", {"run": found, "seq": 4}, 4)
    with serving(script(Answer(200, found), stream(shown, END), DONE)) as fake:
        _, _, err = headway("runs", "watch", ID, "--url", fake.url)
    assert "state: suspended: waits for the token 'tok'\n" in err


def test_a_run_that_is_already_waiting_when_it_is_watched_says_for_what(headway):
    found = samples.run("suspended", blocked_on=[{"kind": "signal", "name": "go"}])
    shown = sse("snapshot", {"run": found, "seq": 4}, 4)
    with serving(script(Answer(200, found), stream(shown, END), DONE)) as fake:
        _, _, err = headway("runs", "watch", ID, "--url", fake.url)
    assert f"state: suspended: waits for signal go; send it: headway runs signal {ID} go" in err


@pytest.mark.parametrize("streams", ["<&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1)])
def test_streams_that_are_closed_or_full_leave_the_exit_code_to_the_run(streams, state, code):
    chunks = (line(1, state="running"), log_line(2, "said"), line(3, state=state))
    answers = script(Answer(202, samples.run()), stream(snapshot(0), *chunks, END), Answer(200, samples.run(state)))
    with serving(answers) as fake:
        words = [sys.executable, "-m", "headway", "run", "backup", "--url", fake.url]
        ended = subprocess.run(["/bin/sh", "-c", f'exec "$@" {streams}', "sh", *words], check=False, cwd=ROOT / "src")
    assert ended.returncode == code


def test_run_as_json_prints_one_document(headway):
    with serving(life(line(1, state="running"))) as fake:
        code, out, err = headway("--json", "--url", fake.url, "run", "backup")
    assert (code, json.loads(out)["output"], err) == (0, {"files": 3}, "")


def test_run_detached_prints_the_id(headway):
    with serving(lambda _: Answer(202, samples.run())) as fake:
        code, out, err = headway("run", "backup", "--detach", "--url", fake.url)
    assert (code, out.strip()) == (0, ID)
    assert f"headway runs watch {ID}" in err


@pytest.mark.parametrize("several", [["--server", "{gone},{there}"], ["--url", "{gone}", "--url", "{there}"]])
def test_commands_ask_the_next_server_when_one_is_not_there(headway, several):
    with socket.socket() as bound, serving(lambda _: Answer(202, samples.run())) as fake:
        bound.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{bound.getsockname()[1]}"
        named = [word.format(gone=gone, there=fake.url) for word in several]
        code, out, _ = headway("run", "backup", "--detach", *named)
    assert (code, out.strip()) == (0, ID)


def test_run_takes_its_input_from_a_file_and_fields_win(headway, tmp_path):
    document = tmp_path / "input.json"
    document.write_text('{"folder": "/a", "deep": [1]}')
    with serving(script(nobody_knows_the_task(), Answer(202, samples.run()))) as fake:
        headway("run", "backup", "--input", f"@{document}", "folder=/b", "-d", "--url", fake.url)
    assert fake.requests[1].json()["input"] == {"folder": "/b", "deep": [1]}


@pytest.mark.parametrize(
    ("state", "fields", "code", "said"),
    [
        (
            "failed",
            {"error": {"code": "exception", "type": "OSError", "message": "disk full"}},
            1,
            "OSError: disk full",
        ),
        ("terminated", {"reason": {"code": "terminated", "message": "enough", "actor": "Ann"}}, 3, "enough (by Ann)"),
    ],
)
def test_a_run_that_does_not_succeed_says_why_and_has_its_exit_code(headway, state, fields, code, said):
    answers = script(Answer(202, samples.run()), stream(END), Answer(200, samples.run(state, **fields)))
    with serving(answers) as fake:
        ended, out, err = headway("run", "backup", "--url", fake.url)
    assert (ended, out) == (code, "")
    assert said in err


def test_run_gives_up_watching_after_its_timeout(headway):
    def handle(request):
        if "/events" not in request.path:
            return Answer(200, samples.run("running"))
        return Answer(headers={"Content-Type": "text/event-stream"}, chunks=endless())

    def endless():
        import threading

        yield snapshot(0)
        threading.Event().wait(5)

    with serving(handle) as fake:
        code, _, err = headway("run", "backup", "--timeout", "300ms", "--url", fake.url)
    assert code == 7
    assert "is running after 0.3 s" in err


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(404, "run_not_found", "No run has that id"), 5),
        (problem(410, "run_purged"), 5),
        (problem(409, "invalid_state"), 6),
        (problem(423, "protected"), 6),
        (problem(422, "invalid_input"), 2),
        (problem(500, "internal_error", "internal error, id 7"), 1),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(headway, answer, code):
    with serving(lambda _: answer) as fake:
        ended, out, err = headway("runs", "show", ID, "--url", fake.url)
    assert (ended, out) == (code, "")
    assert err.startswith("Error: ")
    assert "Traceback" not in err


def test_an_error_as_json_has_its_code(headway):
    with serving(lambda _: problem(409, "invalid_state", "it runs", state="running")) as fake:
        code, _, err = headway("runs", "retry", ID, "--json", "--url", fake.url)
    said = json.loads(err)["error"]
    assert (code, said["code"], said["message"], said["state"]) == (6, "invalid_state", "it runs", "running")


def test_errors_of_the_input_are_named_one_by_one(headway):
    errors = [{"pointer": "/input/folder", "message": "expected string"}]
    with serving(lambda _: problem(422, "invalid_input", "the input is wrong", errors=errors)) as fake:
        _, _, err = headway("run", "backup", "--url", fake.url)
    assert "/input/folder: expected string" in err


def test_no_server_is_exit_code_4(headway):
    with serving(lambda _: DONE) as fake:
        pass
    code, _, err = headway("tasks", "list", "--url", fake.url)
    assert code == 4
    assert "is `headway serve` running?" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "backup", "folder"),
        ("run", "backup", "n:=x"),
        ("run", "backup", "--input", "[1]"),
        ("run", "backup", "--input", "@/nowhere"),
        ("run", "backup", "-l", "customer"),
        ("run", "backup", "--timeout", "soon"),
        ("queues", "limit", "default", "many"),
        ("runs", "list", "--state", "odd"),
        ("runs", "list", "--limit", "-1"),
        ("run", "backup", "name=\udcff"),
        ("run", "\udcff"),
        ("runs", "list", "-l", "a=\udcff"),
        ("runs", "stop", "\udcff"),
        ("nothing",),
    ],
)
def test_wrong_usage_is_exit_code_2_and_asks_nobody(headway, arguments):
    with serving(lambda _: DONE) as fake:
        code, out, _ = headway(*arguments, "--url", fake.url) if arguments != ("nothing",) else headway("nothing")
        assert (code, out, fake.requests) == (2, "", [])


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://\udcff", "http://a b", f"http://{'a' * 70}", "http://h/é", "http://h:x"]
)
def test_what_is_not_the_url_of_a_server_is_wrong_usage(headway, monkeypatch, url):
    monkeypatch.setattr("os.environ", {**os.environ, "HEADWAY_URL": url})
    code, out, err = headway("runs", "list")
    assert (code, out) == (2, "")
    assert "is not the URL of a server" in err


def test_runs_list_is_tab_separated_in_a_pipe_and_has_full_ids(headway):
    page = {"data": [samples.run("failed")], "next_page_token": "", "has_more": False}
    with serving(lambda _: Answer(200, page)) as fake:
        code, out, _ = headway("runs", "list", "-s", "failed", "-l", "a=1", "--url", fake.url)
    head, row = out.splitlines()
    assert (code, head.split("\t")[:3], row.split("\t")[:3]) == (0, ["id", "state", "task"], [ID, "failed", "backup"])
    assert fake.requests[0].path.startswith("/v1/runs?state=failed&label.a=1&")


def test_runs_list_as_json_is_one_document(headway):
    page = {"data": [samples.run("failed")] * 3, "next_page_token": "more", "has_more": True}
    with serving(lambda _: Answer(200, page)) as fake:
        _, out, _ = headway("runs", "list", "-n", "2", "--json", "--url", fake.url)
    assert [run["id"] for run in json.loads(out)["data"]] == [ID, ID]
    assert len(fake.requests) == 1


def test_runs_show_tells_everything(headway):
    run = samples.run(
        "suspended",
        labels={"customer": "7"},
        blocked_on=[{"kind": "signal", "name": "approval"}],
        input={"folder": "/srv"},
        crashes=1,
    )
    with serving(lambda _: Answer(200, run)) as fake:
        _, out, _ = headway("runs", "show", ID, "--url", fake.url)
    for part in ("suspended", "customer=7", "signal approval", '"folder": "/srv"', "1 of 3, 1 crashed"):
        assert part in out


def test_runs_watch_as_json_prints_a_line_for_each_event(headway):
    answers = script(
        Answer(200, samples.run()), stream(snapshot(0), line(1, state="running"), progress(1, 2), END), DONE
    )
    with serving(answers) as fake:
        code, out, _ = headway("runs", "watch", ID, "--json", "--url", fake.url)
    assert code == 0
    assert [json.loads(text)["type"] for text in out.splitlines()] == ["snapshot", "run.state", "run.progress"]


def test_runs_logs_follow_to_the_end(headway):
    with serving(script(DONE, stream(snapshot(0), log_line(1, "one"), log_line(2, "two", "error"), END))) as fake:
        _, out, _ = headway("runs", "logs", ID, "-f", "--url", fake.url)
    assert [text.split()[1:] for text in out.splitlines()] == [["info", "one"], ["error", "two"]]


def test_runs_why_lists_the_causes_and_says_until_when(headway):
    until = "2026-12-01T02:00:00.000Z"
    causes = [
        {"code": "queue_paused", "message": "the queue is paused"},
        {"code": "task_rate", "message": "the task has started as often as its rate allows", "until": until},
    ]
    with serving(script(DONE, Answer(200, {"run_id": ID, "state": "queued", "causes": causes}))) as fake:
        _, out, _ = headway("runs", "why", ID, "--url", fake.url)
    assert out.splitlines() == [
        f"{ID} is queued.",
        "- the queue is paused",
        f"- the task has started as often as its rate allows (until {until})",
    ]


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (
            ("stop", ID, "-m", "enough", "--grace", "5s"),
            f"/v1/runs/{ID}:terminate",
            {"reason": "enough", "actor": "", "grace": "5s", "children": "cascade"},
        ),
        (("suspend", ID), f"/v1/runs/{ID}:suspend", {"reason": ""}),
        (
            ("signal", ID, "approval", '{"ok": true}'),
            f"/v1/runs/{ID}:signal",
            {"name": "approval", "payload": {"ok": True}},
        ),
        (("protect", ID), f"/v1/runs/{ID}:protect", {"reason": ""}),
        (("retry", ID), f"/v1/runs/{ID}:retry", {"reason": ""}),
        (("retry", ID, "--from-scratch"), f"/v1/runs/{ID}:retry", {"reason": "", "from_scratch": True}),
    ],
)
def test_a_verb_is_sent_to_the_run(headway, arguments, path, body):
    with serving(lambda _: Answer(200, samples.run())) as fake:
        code, out, _ = headway("runs", *arguments, "--url", fake.url)
    assert (code, fake.requests[-1].path, fake.requests[-1].json()) == (0, path, body)
    assert out.startswith(ID)


@pytest.mark.parametrize(("number", "said"), [(1, "1 run?"), (0, "0 runs?"), (2000, "2,000 runs?")])
def test_one_run_is_not_runs(headway, monkeypatch, number, said):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with serving(lambda _: Answer(200, {"count": number, "action": "retry", "dry_run": True})) as fake:
        _, _, err = headway("runs", "bulk", "retry", "--url", fake.url)
    assert f"retry {said}" in err


@pytest.mark.parametrize("noun", ["runs", "tasks", "queues", "servers", "workers"])
def test_an_empty_list_on_a_terminal_says_so(headway, monkeypatch, noun):
    monkeypatch.setattr("headway.cli.show.on_a_terminal", lambda: True)
    with serving(lambda _: Answer(200, {"data": [], "next_page_token": "", "has_more": False})) as fake:
        assert headway(noun, "list", "--url", fake.url) == (0, f"No {noun}.\n", "")


def test_bulk_previews_asks_and_acts(headway):
    preview = Answer(200, {"count": 4, "action": "terminate", "dry_run": True})
    with serving(script(preview, Answer(202, samples.run()))) as fake:
        code, out, _ = headway("runs", "bulk", "terminate", "-s", "queued", "--yes", "--url", fake.url)
    assert code == 0
    assert [request.json()["dry_run"] for request in fake.requests] == [True, False]
    assert ID in out


def test_bulk_retries_from_scratch_and_nothing_else_does(headway):
    preview = Answer(200, {"count": 4, "action": "retry", "dry_run": True})
    with serving(script(preview, Answer(202, samples.run()))) as fake:
        code, _, _ = headway("runs", "bulk", "retry", "--from-scratch", "--yes", "--url", fake.url)
        assert (0, True) == (code, fake.requests[-1].json()["from_scratch"])
        code, _, err = headway("runs", "bulk", "delete", "--from-scratch", "--yes", "--url", fake.url)
        assert (2, 2) == (code, len(fake.requests))
    assert "--from-scratch goes with retry only" in err


def test_bulk_without_a_yes_does_nothing(headway, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with serving(lambda _: Answer(200, {"count": 4, "action": "terminate", "dry_run": True})) as fake:
        code, _, _ = headway("runs", "bulk", "terminate", "-s", "queued", "--url", fake.url)
        assert (code, len(fake.requests)) == (130, 1)


def test_ctrl_c_leaves_the_run_to_itself_and_says_how_to_find_it(headway, monkeypatch):
    from headway.client.sync.handle import RunHandle

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunHandle, "events", interrupted)
    with serving(lambda _: Answer(202, samples.run())) as fake:
        code, _, err = headway("run", "backup", "--url", fake.url)
    assert code == 130
    assert f"headway runs watch {ID}" in err
    assert f"headway runs stop {ID}" in err
    assert len(fake.requests) == 1


def test_ctrl_c_before_the_server_has_answered_says_that_the_run_may_be_there(headway, monkeypatch):
    from headway.client.sync.runs import Runs

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Runs, "start", interrupted)
    with serving(lambda _: DONE) as fake:
        code, _, err = headway("run", "backup", "--url", fake.url)
    assert (code, "headway runs list" in err) == (130, True)


def test_unknown_events_do_not_upset_the_screen(headway):
    with serving(
        life(sse("run.future", {"seq": 1, "type": "run.future", "time": "", "run_id": ID, "data": 1}, 1))
    ) as fake:
        assert headway("run", "backup", "--url", fake.url)[0] == 0


def test_every_command_is_loaded_by_the_table_and_has_help(headway):
    for name in TABLE:
        code, out, err = headway(name, "--help")
        assert (code, "headway" in out.splitlines()[0], err) == (0, True, ""), name


def test_help_and_version_import_nothing_heavy():
    heavy = "('asyncio', 'aiohttp', 'rich', 'msgspec', 'starlette', 'uvicorn', 'apsw')"
    program = f"""
import sys
from headway.cli.main import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stderr.strip() == "[]"


def test_serve_imports_neither_rich_nor_aiohttp():
    program = "import sys, headway.cli.serve; print([name for name in ('aiohttp', 'rich') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"
