"""Look-up of arguments: prefixes of ids, the last run, similar names, and hints in commands."""

import re

import pytest
from tests.cli.streaming import environment  # noqa: F401 - fixtures
from tests.client import samples
from tests.client.samples import ID
from tests.client.server import Answer, problem, script, serving

from headway.cli.hints import hint
from headway.errors import BY_CODE
from headway.ids import IdSource
from headway.web.problem import InternalError

NOW_MS = 1_796_000_000_000
FIRST, SECOND, THIRD = (IdSource(bytes).new(NOW_MS + later) for later in (0, 1, 70_000))


def listed(*ids):
    runs = [samples.run("failed", run_id) for run_id in ids]
    return Answer(200, {"data": runs, "next_page_token": "", "has_more": False})


def shown(headway, prefix, *ids):
    with serving(script(listed(*ids), Answer(200, samples.run(run_id=FIRST)))) as fake:
        return *headway("runs", "show", prefix, "--url", fake.url), [request.path for request in fake.requests]


@pytest.mark.parametrize(
    "prefix", [FIRST[:13], FIRST[:18], FIRST[:20].replace("-", ""), FIRST[:13].upper(), FIRST[:35]]
)
def test_a_run_is_found_by_a_prefix_that_no_other_run_has(headway, prefix):
    code, _, _, paths = shown(headway, prefix, FIRST)
    assert (code, paths[1]) == (0, f"/v1/runs/{FIRST}")


def test_a_prefix_is_asked_for_as_a_span_of_time_which_an_index_has(headway):
    *_, paths = shown(headway, FIRST[:13], FIRST)
    span = dict(re.findall(r"(created_\w+)=([^&]+)", paths[0]))
    assert span["created_after"][-6:-1] != span["created_before"][-6:-1]
    assert set(span) == {"created_after", "created_before"}


def test_a_prefix_of_several_runs_names_them_and_does_nothing(headway):
    with serving(lambda _: listed(FIRST, SECOND)) as fake:
        code, out, err = headway("runs", "stop", FIRST[:8], "--url", fake.url)
    assert (code, out) == (2, "")
    assert f"several runs begin with {FIRST[:8]}" in err
    assert f"{FIRST}  failed  backup" in err
    assert f"{SECOND}  failed  backup" in err
    assert {request.method for request in fake.requests} == {"GET"}


def test_no_run_is_changed_when_one_of_those_named_is_not_there(headway):
    with serving(script(Answer(200, samples.run()), problem(404, "run_not_found"))) as fake:
        code, _, err = headway("runs", "stop", ID, FIRST, "--url", fake.url)
    assert (code, {request.method for request in fake.requests}) == (5, {"GET"})
    assert "headway runs list" in err


@pytest.mark.parametrize("text", ["zz", "012", "not-an-id", "ffffffffffff", ""])
def test_what_is_no_prefix_is_no_run(headway, text):
    with serving(lambda _: listed()) as fake:
        assert headway("runs", "show", text, "--url", fake.url)[0] == 5


@pytest.mark.parametrize(("options", "query"), [([], ""), (["-t", "backup"], "task=backup")])
def test_the_last_run_is_the_newest_and_is_named(headway, options, query):
    with serving(lambda _: listed(SECOND, FIRST)) as fake:
        code, out, err = headway("runs", "show", "--last", *options, "--url", fake.url)
    assert (code, err) == (0, f"The last run: {SECOND}, backup\n")
    assert SECOND in out
    assert query in fake.requests[0].path


@pytest.mark.parametrize("words", [["show"], ["show", ID, "--last"], ["stop"], ["stop", ID, "--last"]])
def test_a_run_is_named_in_one_way(headway, words):
    with serving(lambda _: listed(FIRST)) as fake:
        assert headway("runs", *words, "--url", fake.url)[0] == 2


@pytest.mark.parametrize(("noun", "verb"), [("keys", "revoke"), ("users", "disable"), ("organisations", "disable")])
def test_others_are_found_by_a_prefix_of_their_id_too(server, carry_out, noun, verb):
    client = server[0]
    made = getattr(client, noun).create(f"{noun}-to-end")
    code, out, _ = carry_out("open", [noun, verb, made.id[:23] if "-" in made.id else made.id[:12]])
    assert (code, out.split()[0]) == (0, made.id)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "gret"], "'greet'"),
        (["run", "GREET", "-d"], "'greet'"),
        (["tasks", "show", "geet"], "'greet'"),
        (["schedules", "create", "x", "Daily", "gret", "-z", "UTC"], "'greet'"),
        (["schedules", "pause", "nigtly"], "'nightly'"),
        (["queues", "pause", "defualt"], "'default'"),
        (["tables", "show", "custmers"], "'customers'"),
        (["record-tasks", "show", "welcom"], "'welcome'"),
        (["schdules", "list"], "'schedules'"),
        (["runs", "lst"], "'list'"),
        (["runs", "list", "--creatd-after", "x"], "'--created-after'"),
    ],
)
def test_an_unknown_name_is_answered_with_what_comes_close(server, carry_out, arguments, meant):
    client = server[0]
    if not any(table.name == "customers" for table in client.tables.list()):
        client.tables.create("customers", [{"name": "Name", "indexed": True}])
        client.schedules.create("nightly", "greet", "Daily", timezone="UTC")
        client.record_tasks.create("welcome", "customers", [{"action": "update", "set": {"Name": "x"}}])
        client.runs.start("greet").wait(60)
    code, _, err = carry_out("open", arguments)
    assert code in {2, 5}
    assert f"Did you mean {meant}" in err or f"Did you mean one of: {meant}" in err
    assert "/v1/" not in err


def test_a_name_that_nothing_comes_close_to_has_no_suggestion(server, carry_out):
    code, _, err = carry_out("open", ["run", "quite-another"])
    assert (code, "Did you mean" in err, "headway tasks list" in err) == (2, False, True)


def test_a_key_that_may_not_list_the_tasks_gets_the_error_alone(headway):
    refused = problem(403, "forbidden")
    with serving(script(problem(422, "unknown_task", "no such task", task="gret"), refused)) as fake:
        code, _, err = headway("run", "gret", "--url", fake.url)
    assert (code, "Did you mean" in err) == (2, False)


@pytest.mark.parametrize("code", [*BY_CODE, InternalError.code])
def test_hints_speak_of_commands_and_options(code):
    said = hint((BY_CODE | {InternalError.code: InternalError})[code]("x"), []) or ""
    assert not re.search(
        r"\b(GET|POST|PUT|PATCH|DELETE) /|/v1/|Retry-After|Prefer|Authorization|X-\w|\bIdempotency-Key", said
    )
    assert "?" not in said


def test_an_error_is_said_once(headway):
    errors = [{"pointer": "/input/a", "message": "is not a number"}, {"pointer": "/input/b", "message": "is missing"}]
    with serving(lambda _: problem(422, "invalid_input", "input.a: is not a number", errors=errors)) as fake:
        _, _, err = headway("run", "backup", "--url", fake.url)
    assert err.splitlines() == ["Error: input.a: is not a number", "  /input/b: is missing"]
