"""The blocking client, against a server that answers from a script."""

import dataclasses
import itertools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.client import samples
from tests.client.samples import ID, FakePace
from tests.client.server import Answer, problem, script, serving

from headway import errors
from headway.client import backoff
from headway.client.errors import ConnectionLost, RunFailed, RunTerminated, UnexpectedAnswer, WaitTimeout
from headway.client.sync.client import Client
from headway.protocol.runs import BulkPreview, StartRun


@pytest.fixture
def connected():
    made = []

    def make(fake, **options):
        made.append(Client(fake.url, pace=FakePace(), **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_start_sends_the_fields_as_input_and_the_options_beside_it(connected):
    with serving(lambda _: Answer(202, samples.run())) as fake:
        handle = connected(fake).runs.start(
            "backup",
            {"name": "clash"},
            folder="/srv",
            name="Nightly",
            priority=7,
            run_at=datetime(2026, 12, 1, 2, tzinfo=UTC),
            delay=timedelta(seconds=90),
            labels={"customer": "7"},
            dedupe="backup:7",
            protect=True,
            retention=3600,
        )
    assert (handle.id, handle.url, handle.state) == (ID, f"{fake.url}/v1/runs/{ID}", "queued")
    assert fake.requests[0].json() == {
        "task": "backup",
        "input": {"name": "clash", "folder": "/srv"},
        "name": "Nightly",
        "priority": 7,
        "run_at": "2026-12-01T02:00:00.000Z",
        "delay": "90s",
        "labels": {"customer": "7"},
        "dedupe": {"key": "backup:7"},
        "protect": True,
        "retention": "1h",
    }


def test_an_input_that_is_not_json_is_refused_before_anything_is_sent(connected):
    with serving(lambda _: Answer(202, samples.run())) as fake:
        with pytest.raises(TypeError, match="the input of 'backup' cannot be written as JSON"):
            connected(fake).runs.start("backup", folder=object())
        assert fake.requests == []


def test_a_start_is_tried_again_with_the_same_key(connected):
    answers = script(
        problem(503, "storage_full", retry_after=3),
        problem(429, "too_many_requests", retry_after=2),
        problem(409, "idempotency_in_progress", close=True),
        Answer(drop=True),
        Answer(202, samples.run()),
    )
    with serving(answers) as fake:
        client = connected(fake)
        client.runs.start("backup")
        keys = {request.headers["idempotency-key"] for request in fake.requests}
        pauses = client._caller.pace.pauses
    assert (len(fake.requests), len(keys)) == (5, 1)
    assert pauses[0] >= 3
    assert pauses[1] >= 2
    assert pauses[3] == pytest.approx(0.8)


def test_tries_end(connected):
    with serving(lambda _: problem(503, "draining", "bye")) as fake:
        with pytest.raises(errors.Draining, match="bye"):
            connected(fake, retries=2).runs.start("backup")
        assert len(fake.requests) == 3


@pytest.mark.parametrize("code", ["invalid_input", "unknown_task", "task_inactive", "duplicate_run"])
def test_what_will_not_get_better_is_not_tried_again(connected, code):
    with serving(lambda _: problem(errors.BY_CODE[code].status, code)) as fake:
        with pytest.raises(errors.BY_CODE[code]):
            connected(fake).runs.start("backup")
        assert len(fake.requests) == 1


def test_the_result_is_waited_for_by_long_polls(connected):
    final = samples.run("succeeded", output={"files": 3})
    with serving(script(Answer(202, samples.run()), Answer(202, samples.run("running")), Answer(200, final))) as fake:
        assert connected(fake).runs.start("backup").result() == {"files": 3}
    polls = fake.requests[1:]
    assert [(poll.path, poll.headers["prefer"]) for poll in polls] == [(f"/v1/runs/{ID}?wait_for=final", "wait=30")] * 2


def test_a_wait_outlasts_a_server_that_restarts(connected):
    answers = script(
        Answer(202, samples.run()),
        Answer(drop=True),
        *[problem(503, "draining")] * 9,
        Answer(200, samples.run("succeeded", output=1)),
    )
    with serving(answers) as fake:
        assert connected(fake, retries=0).runs.start("backup").result() == 1


def test_a_wait_without_timeout_gives_up_when_the_server_stays_away(connected):
    with serving(script(Answer(202, samples.run()), problem(503, "draining"))) as fake:
        client = connected(fake)
        with pytest.raises(errors.Draining):
            client.runs.start("backup").wait()
        assert 300 < client._caller.pace.now_s() < 330


def test_a_wait_that_runs_out_says_so_and_carries_the_run(connected):
    with serving(lambda _: problem(503, "draining") if "wait_for" in _.path else Answer(200, samples.run())) as fake:
        handle = connected(fake).runs.get(ID)
        with pytest.raises(WaitTimeout, match="is queued after 7 s") as caught:
            handle.wait(timeout=7)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.run.state == "queued"


def test_a_wait_that_runs_out_tells_the_present_state_and_progress(connected):
    progress = {"done": 199, "total": 200, "percent": 99.5, "message": "page 4", "rate": None, "eta": None}
    late, over = threading.Event(), threading.Event()

    def handle(asked):
        if "wait_for" in asked.path:
            late.set()
            over.wait(10)  # the poll ends with the client's patience, and brings no answer
        return Answer(200, samples.run("running", progress=progress) if late.is_set() else samples.run())

    with serving(handle) as fake:
        handle = connected(fake).runs.get(ID)
        handle._caller.pace.now_s = time.monotonic
        with pytest.raises(WaitTimeout, match=r"is running after 0.2 s, 199 of 200 done \(99 %\): page 4$") as caught:
            handle.wait(timeout=0.2)
        over.set()
    error = caught.value
    assert (ID, "running", 199, "running") == (error.run_id, error.state, error.progress.done, error.run.state)


def test_a_wait_that_runs_out_without_an_answer_says_what_was_seen_last(connected):
    answers = iter([Answer(200, samples.run())])
    with serving(lambda _: next(answers, problem(503, "draining"))) as fake:
        handle = connected(fake).runs.get(ID)
        with pytest.raises(WaitTimeout, match=r"is queued when it was last seen after 7 s$"):
            handle.wait(timeout=7)


def test_a_run_that_ends_as_the_time_is_up_has_ended(connected):
    def handle(asked):
        if "wait_for" in asked.path:
            raise ConnectionResetError
        return Answer(200, samples.run("succeeded" if len(fake.requests) > 1 else "queued"))

    with serving(handle) as fake:
        found = connected(fake).runs.get(ID)
        found._caller.pace.now_s = iter([0.0, *[9.0] * 99]).__next__
        assert "succeeded" == found.wait(timeout=1).state


def test_a_wait_of_zero_looks_once(connected):
    with serving(lambda _: Answer(200, samples.run("running"))) as fake:
        handle = connected(fake).runs.get(ID)
        with pytest.raises(WaitTimeout):
            handle.wait(timeout=0)
        assert len(fake.requests) == 2


def test_a_server_that_does_not_hold_long_polls_is_not_overrun(connected):
    answers = [Answer(202, samples.run("running"))] * 5 + [Answer(200, samples.run("succeeded"))]
    with serving(script(*answers)) as fake:
        client = connected(fake)
        client.runs.start("backup").wait()
        assert client._caller.pace.pauses == [0.5] * 4


def test_a_wrong_id_is_not_waited_for(connected):
    with (
        serving(script(Answer(200, samples.run()), problem(410, "run_purged"))) as fake,
        pytest.raises(errors.RunPurged),
    ):
        connected(fake).runs.get(ID).wait()


def test_a_failed_run_raises_what_went_wrong(connected):
    error = {"code": "exception", "type": "OSError", "message": "disk full", "retryable": True, "details": "Trace"}
    with (
        serving(lambda _: Answer(200, samples.run("failed", error=error))) as fake,
        pytest.raises(RunFailed, match="backup failed: OSError: disk full") as caught,
    ):
        connected(fake).runs.get(ID).result()
    assert (caught.value.error.details, caught.value.run.id) == ("Trace", ID)


def test_a_terminated_run_raises_who_stopped_it(connected):
    reason = {"code": "terminated", "message": "not needed", "actor": "Ann"}
    with (
        serving(lambda _: Answer(200, samples.run("terminated", reason=reason))) as fake,
        pytest.raises(RunTerminated, match="backup was stopped: not needed") as caught,
    ):
        connected(fake).runs.get(ID).result()
    assert caught.value.reason.actor == "Ann"


@dataclasses.dataclass
class Report:
    files: int
    at: datetime


def test_a_result_is_decoded_to_the_type_asked_for(connected):
    output = {"files": 3, "at": "2026-11-22T01:00:00Z"}
    with serving(lambda _: Answer(200, samples.run("succeeded", output=output))) as fake:
        report = connected(fake).runs.get(ID).result(type=Report)
    assert report == Report(3, datetime(2026, 11, 22, 1, tzinfo=UTC))


def test_an_id_without_dashes_is_the_same_id(connected):
    with serving(lambda _: Answer(200, samples.run())) as fake:
        connected(fake).runs.get(ID.replace("-", "").upper())
    assert fake.requests[0].path == f"/v1/runs/{ID}"


def test_what_is_no_id_is_not_found_without_asking(connected):
    with serving(lambda _: Answer(200, samples.run())) as fake:
        with pytest.raises(errors.NotFound, match="is not the id of a run"):
            connected(fake).runs.get("../tasks")
        assert fake.requests == []


@pytest.mark.parametrize(
    ("verb", "arguments", "body"),
    [
        (
            "terminate",
            ("enough", timedelta(seconds=5)),
            {"reason": "enough", "actor": "", "grace": "5s", "children": "cascade"},
        ),
        ("suspend", ("hold",), {"reason": "hold"}),
        ("resume", (), {"reason": ""}),
        ("signal", ("approved", {"by": "Ann"}), {"name": "approved", "payload": {"by": "Ann"}}),
        ("protect", (), {"reason": ""}),
        ("unprotect", (), {"reason": ""}),
    ],
)
def test_a_verb_is_posted_and_answers_with_the_run(connected, verb, arguments, body):
    with serving(script(Answer(200, samples.run()), Answer(200, samples.run("stopping")))) as fake:
        handle = connected(fake).runs.get(ID)
        assert getattr(handle, verb)(*arguments).state == handle.state == "stopping"
    asked = fake.requests[1]
    assert (asked.method, asked.path, asked.json()) == ("POST", f"/v1/runs/{ID}:{verb}", body)
    assert asked.headers["idempotency-key"]


def test_a_retry_is_another_run(connected):
    other = ID[:-1] + "2"
    with serving(script(Answer(200, samples.run("failed")), Answer(202, samples.run(run_id=other)))) as fake:
        handle = connected(fake).runs.get(ID)
        assert (handle.retry().id, handle.id) == (other, ID)
        assert {"reason": ""} == fake.requests[-1].json()
        handle.retry("mended", from_scratch=True)
        assert {"reason": "mended", "from_scratch": True} == fake.requests[-1].json()


def test_an_update_sends_only_what_is_given(connected):
    with serving(lambda _: Answer(200, samples.run())) as fake:
        connected(fake).runs.get(ID).update(priority=0, retention=None, version=4)
    asked = fake.requests[1]
    assert (asked.method, asked.json(), asked.headers["if-match"]) == (
        "PATCH",
        {"priority": 0, "retention": None},
        '"4"',
    )


def test_a_delete_whose_first_answer_was_lost_has_happened(connected):
    with serving(
        script(Answer(200, samples.run("failed"), close=True), Answer(drop=True), problem(410, "run_purged"))
    ) as fake:
        handle = connected(fake).runs.get(ID)
        handle.delete()
        with pytest.raises(errors.RunPurged):
            handle.delete()


def test_a_delete_of_what_leaves_no_trace_has_happened_if_its_first_answer_was_lost(connected):
    with serving(
        script(Answer(drop=True), problem(404, "schedule_not_found"), problem(404, "schedule_not_found"))
    ) as fake:
        client = connected(fake)
        client.schedules.delete("nightly")
        with pytest.raises(errors.ScheduleNotFound):
            client.schedules.delete("nightly")


def test_a_change_of_a_version_has_one_key_for_all_tries(connected):
    """Else the second would find that the version is not there any more, since the first has changed it."""
    lost = Answer(chunks=[b'{"id', None])
    with serving(script(Answer(200, samples.run()), lost, Answer(200, samples.run()))) as fake:
        connected(fake).runs.get(ID).update(priority=0, version=4)
    keys = [request.headers["idempotency-key"] for request in fake.requests[1:]]
    assert (len(keys), len(set(keys))) == (2, 1)


def test_a_server_that_is_away_for_six_seconds_is_waited_for(connected):
    with serving(lambda _: problem(503, "draining")) as fake:
        client = connected(fake)
        with pytest.raises(errors.Draining):
            client.runs.start("backup")
        pauses = client._caller.pace.pauses
        least = [min(backoff.LONGEST_S, backoff.FIRST_S * 2**n) / 2 for n in range(len(pauses))]
        assert sum(least) >= 6


def test_a_list_asks_for_pages_as_it_gets_there(connected):
    def handle(request):
        second = "page_token=t2" in request.path
        data = [
            samples.run("failed", run_id=f"{ID[:-1]}{3 if second else number}")
            for number in ([3] if second else [1, 2])
        ]
        return Answer(200, {"data": data, "next_page_token": "" if second else "t2", "has_more": not second})

    with serving(handle) as fake:
        runs = connected(fake).runs.list(state=["failed", "terminated"], labels={"a": "1"}, task="back up")
        assert len(fake.requests) == 0
        assert [handle.id[-1] for handle in itertools.islice(runs, 2)] == ["1", "2"]
        assert len(fake.requests) == 1
        assert [handle.id[-1] for handle in runs] == ["1", "2", "3"]
        assert runs.page("t2", 7).next_page_token == ""
    first = "/v1/runs?state=failed%2Cterminated&label.a=1&task=back+up"
    assert fake.requests[0].path == f"{first}&page_size=200"
    assert fake.requests[-1].path == f"{first}&page_token=t2&page_size=7"


def test_a_big_batch_goes_in_chunks_and_answers_in_order(connected):
    def handle(request):
        runs = request.json()["runs"]
        return Answer(200, {"data": [outcome(run["input"]["n"]) for run in runs]})

    def outcome(n):
        if n == 1001:
            return {"status": 422, "error": {"code": "unknown_task", "detail": "no such task"}}
        return {"status": 202, "run": samples.run(name=str(n))}

    with serving(handle) as fake:
        items = ({"task": "t", "n": n, "priority": 1} for n in range(1500))
        found = connected(fake).runs.start_many(items)
    assert [len(request.json()["runs"]) for request in fake.requests] == [1000, 500]
    assert [found[0].run.name, found[1499].run.name, type(found[1001])] == ["0", "1499", errors.UnknownTask]
    assert fake.requests[0].headers["idempotency-key"] != fake.requests[1].headers["idempotency-key"]


def test_all_or_nothing_holds_for_one_batch(connected):
    with serving(lambda _: Answer(200, {"data": [{"status": 202, "run": samples.run()}]})) as fake:
        client = connected(fake)
        assert len(client.runs.start_many([StartRun(task="t")], atomic=True)) == 1
        assert fake.requests[0].json()["atomic"] is True
        with pytest.raises(ValueError, match="up to 1000"):
            client.runs.start_many([StartRun(task="t")] * 1001, atomic=True)
        assert len(fake.requests) == 1


def test_a_bulk_action_is_previewed_and_is_a_run_of_its_own(connected):
    preview = Answer(200, {"count": 4, "action": "terminate", "dry_run": True})
    with serving(script(preview, Answer(202, samples.run()))) as fake:
        runs = connected(fake).runs
        assert runs.bulk({"state": "queued"}, "terminate", dry_run=True) == BulkPreview(count=4, action="terminate")
        assert runs.bulk({"state": "queued"}, "terminate").id == ID
        runs.bulk({"state": "failed"}, "retry", from_scratch=True)
        assert [None, None, True] == [asked.json().get("from_scratch") for asked in fake.requests]
    assert fake.requests[0].json()["filter"] == {"state": ["queued"]}


def test_numbered_pages_are_followed_by_their_last_number(connected):
    lines = [{"seq": n, "time": "t", "level": "info", "message": str(n), "attempt": 1, "fields": {}} for n in (1, 2)]
    answers = script(
        Answer(200, samples.run()),
        Answer(200, {"data": lines[:1], "next_after": 1, "has_more": True}),
        Answer(200, {"data": lines[1:], "next_after": 2, "has_more": False}),
    )
    with serving(answers) as fake:
        assert [line.message for line in connected(fake).runs.get(ID).logs()] == ["1", "2"]
    assert [request.path.partition("?")[2] for request in fake.requests[1:]] == [
        "page_size=200",
        "after=1&page_size=200",
    ]


def test_names_in_paths_are_quoted(connected):
    queue = {"name": "a/b", "paused": True, "concurrency": None, "counts": {}, "depth": 0, "oldest_queued_at": None}
    queue |= {"created_at": "t", "updated_at": "t", "url": "/v1/queues/a%2Fb"}
    with serving(lambda _: Answer(200, queue)) as fake:
        assert connected(fake).queues.pause("a/b").paused
    assert fake.requests[0].path == "/v1/queues/a%2Fb:pause"


def test_the_environment_says_where_the_server_is(monkeypatch):
    with serving(lambda _: Answer(200, {"status": "ok", "checks": {}})) as fake:
        monkeypatch.setenv("HEADWAY_URL", fake.url)
        monkeypatch.setenv("HEADWAY_KEY", "secret")
        with Client() as client:
            assert client.health().status == "ok"
    assert fake.requests[0].headers["authorization"] == "Bearer secret"


def test_a_server_that_is_not_ready_is_still_healthy_enough_to_say_so(connected):
    with serving(lambda _: Answer(503, {"status": "draining", "checks": {"storage": "ok"}})) as fake:
        assert connected(fake).health().status == "draining"


def test_an_answer_of_something_else_is_named_as_such(connected):
    with serving(lambda _: Answer(200, b"<html>")) as fake, pytest.raises(UnexpectedAnswer):
        connected(fake).tasks.list()


def test_a_closed_client_says_so(connected):
    with serving(lambda _: Answer(200, {"data": []})) as fake:
        client = connected(fake, retries=0)
        client.close()
        with pytest.raises(ConnectionLost, match="was closed"):
            client.tasks.list()
