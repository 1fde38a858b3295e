"""Starting: what is checked, what is kept, and what a request can never do twice."""

import asyncio
import json
import threading

import msgspec
import pytest
from tests.commands import FunctionCommand
from tests.harness import declare, in_memory, key, spec

from headway.errors import (
    DuplicateRun,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    MalformedJson,
    PayloadTooLarge,
    TaskInactive,
    UnknownTask,
)
from headway.ids import time_of
from headway.protocol.runs import StartRun
from headway.protocol.workers import TerminateTask

BAD = {
    "not a number": b"NaN", "infinity": b"-Infinity", "too large for a float": b"1e999",
    "lone surrogate": b'"\\ud800"', "surrogates in the wrong order": b'"\\udc00\\ud800"', "raw control": b'"a\x00b"',
    "2^63": b"9223372036854775808", "-2^63-1": b"-9223372036854775809", "2^64 inside": b'{"a":[18446744073709551616]}',
    "5,000 digits": b"1" * 5000, "deep": b"[" * 100_000 + b"]" * 100_000, "deeper than allowed": b"[" * 101 + b"]" * 101,
    "unfinished and deep": b"[" * 100_000, "UTF-16": '{"a":1}'.encode("utf-16"), "byte order mark": b"\xef\xbb\xbf{}",
    "trailing bytes": b"{} x", "not UTF-8": b'"\xff"', "leading zero": b"01", "single quotes": b"{'a':1}", "nothing": b"",
    "trailing comma": b"[1,]", "comment": b"/* */ 1",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_input_that_is_no_json_for_everyone_is_refused_and_nothing_kept(harness, name):
    await harness.worker()
    before = harness.dump()
    with pytest.raises((MalformedJson, InvalidInput)) as caught:
        await harness.runs.start(StartRun(task="t", input=msgspec.Raw(BAD[name])))
    assert caught.value.status in (400, 422)
    assert before == harness.dump()


GOOD = {
    b'{"a":{"a":"\\"a\\":1"}}': '{"a":{"a":"\\"a\\":1"}}', b'"\\u0000"': '"\\u0000"', b"9223372036854775807": "9223372036854775807",
    b'{"\\u0022": 1, "b" : "\\u0022"}': '{"\\"":1,"b":"\\""}', b"-9223372036854775808": "-9223372036854775808", b" [ 1.0 , true , null ] ": "[1.0,true,null]",
    '"ü€😀"'.encode(): '"ü€😀"', b"[" * 100 + b"]" * 100: "[" * 100 + "]" * 100, b'"[[[["': '"[[[["',
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
async def test_input_comes_back_as_it_was_given(harness, text):
    await harness.worker()
    started = await harness.runs.start(StartRun(task="t", input=msgspec.Raw(text)))
    assert GOOD[text] == (await harness.runs.get(started.run.id)).input


async def test_input_is_limited_in_bytes():
    harness = in_memory(input_max=100)
    await harness.worker()
    await harness.start("t", "x" * 98)
    with pytest.raises(PayloadTooLarge):
        await harness.start("t", "x" * 99)


SCHEMA = {
    "type": "object", "required": ["n"], "additionalProperties": False,
    "properties": {"n": {"type": "integer"}, "who": {"type": "object", "properties": {"a/b": {"type": "string"}}}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "pointers"),
    [({}, ["/input"]), ({"n": "1"}, ["/input/n"]), ({"n": 1, "who": {"a/b": 2}}, ["/input/who/a~1b"]),
     ({"n": 1, "x": 1}, ["/input"]), ({"n": "1", "who": {"a/b": 2}}, ["/input/n", "/input/who/a~1b"])],
)  # fmt: skip
async def test_what_does_not_fit_the_schema_is_pointed_at(harness, given, pointers):
    await harness.worker(declare("t", input_schema=SCHEMA))
    with pytest.raises(InvalidInput) as caught:
        await harness.start("t", given)
    assert pointers == sorted(error["pointer"] for error in caught.value.errors)
    assert all(error["code"] and error["message"] for error in caught.value.errors)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://example.com/x"}, {"pattern": "("}])
async def test_a_schema_that_cannot_be_used_is_refused_when_it_is_declared(harness, schema):
    with pytest.raises(InvalidInput):
        await harness.worker(declare("t", input_schema=schema))
    assert [] == harness.tasks.list()


async def test_only_known_and_active_tasks_take_runs(harness):
    with pytest.raises(UnknownTask):
        await harness.start("t")
    await harness.worker()
    await harness.tasks.activate("t", active=False)
    with pytest.raises(TaskInactive):
        await harness.start("t")
    await harness.tasks.activate("t", active=True)
    assert "queued" == (await harness.start("t")).state


@pytest.mark.parametrize(
    "fields",
    [
        {"delay": "soon"}, {"delay": "1s", "run_at": "2030-01-01T00:00:00Z"}, {"run_at": "tomorrow"},
        {"run_at": "2030-01-01T00:00:00"}, {"run_at": "1969-12-31T00:00:00Z"}, {"parent_id": "x"}, {"retention": "x"},
        {"dedupe": {"key": "k", "scope": "window"}}, {"dedupe": {"key": "k", "on_conflict": "debounce"}},
        {"parent_id": "01890000-0000-7000-8000-00000000abcd"},
    ],
)  # fmt: skip
async def test_options_that_make_no_sense_are_refused_with_a_pointer(harness, fields):
    await harness.worker()
    with pytest.raises(InvalidInput) as caught:
        await harness.start("t", **fields)
    assert caught.value.errors[0]["pointer"].strip("/").split("/")[0] in fields or "delay" in fields


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"a": {"b": "x"}}, "x"), ({"a": {"b": 7}}, "7"), ({"a": {"b": True}}, None), ({"a": {"b": ""}}, None),
     ({"a": 1}, None), ({}, None), ({"a": {"b": "x" * 256}}, None), ({"a": {"b": "a\u0000"}}, None)],
)  # fmt: skip
async def test_the_key_is_found_in_the_input(harness, given, expected):
    await harness.worker(declare("t", key="a.b"))
    assert expected == (await harness.start("t", given)).key
    assert "mine" == (await harness.start("t", given, key="mine")).key


async def test_a_start_that_only_checks_leaves_nothing(harness):
    await harness.worker()
    before = harness.dump()
    assert not (await harness.runs.start(spec("t", validate_only=True))).created
    assert before == harness.dump()


async def test_a_run_carries_what_it_was_given(harness):
    await harness.worker(declare("t", priority=3, queue="q", retry={"max_attempts": 7}))
    run = await harness.start("t")
    assert ("q", 3, 7, "t") == (run.queue, run.priority, run.max_attempts, run.name)
    run = await harness.start("t", name="n", queue="r", priority=9, max_attempts=2, labels={"a": "b"}, retention="1d")
    assert ("r", 9, 2, "n", '{"a":"b"}', 86_400_000) == (
        run.queue, run.priority, run.max_attempts, run.name, run.labels, run.keep_ms
    )  # fmt: skip
    assert run == await harness.runs.get(run.id)
    assert {"q", "r"} <= {queue.name for queue in harness.queues.list()}


async def test_ids_sort_by_creation_also_when_many_are_made_at_once(harness):
    await harness.worker()
    runs = []
    for _ in range(5):
        runs += [item.run for item in await harness.start_many(*[spec()] * 1000)]
    assert sorted(run.id for run in runs) == [run.id for run in runs]
    assert all(time_of(run.id) == run.created_at for run in runs)


async def test_one_idempotency_key_starts_one_run(harness):
    await harness.worker()
    first = await harness.runs.start(spec(), key("k"))
    again = await harness.runs.start(spec(), key("k"))
    assert (first.run.id, True, False) == (again.run.id, again.replayed, again.created)
    with pytest.raises(IdempotencyKeyReused):
        await harness.runs.start(spec(), key("k", b'{"other":1}'))
    harness.clock.advance(86_400_000)
    assert first.run.id != (await harness.runs.start(spec(), key("k"))).run.id


@pytest.mark.parametrize("written", [True, False], ids=["written meanwhile", "written at the end"])
async def test_64_at_once_with_one_key_start_one_run(disk, written):
    """A start under a dedupe key writes what is pending; without one the unit alone knows what it has answered."""

    def one(name):
        return spec(dedupe={"key": name}) if written else spec()

    await disk.worker()
    asked = [disk.runs.start(one(str(n)), key("k")) for n in range(64)]
    others = [disk.runs.start(one(f"o{n}"), key(f"o{n}")) for n in range(64)]
    mixed = [one for pair in zip(asked, others, strict=True) for one in pair]
    gate, entered = threading.Event(), threading.Event()
    blocked = disk.store.write(FunctionCommand(lambda uow: entered.set() or gate.wait(10)))
    await asyncio.to_thread(entered.wait, 10)  # it has a transaction of its own; the rest shares the next
    waiting = asyncio.gather(*mixed)
    await asyncio.sleep(0)
    gate.set()
    await blocked
    found = (await waiting)[::2]
    assert 1 == len({started.run.id for started in found})
    assert 1 == sum(not started.replayed for started in found)
    assert 65 == disk.tasks.counts("t")["queued"]


async def test_what_was_refused_is_not_remembered(harness):
    await harness.worker()
    with pytest.raises(InvalidInput):
        await harness.runs.start(spec(parent_id="01890000-0000-7000-8000-00000000abcd"), key("k"))
    assert not (await harness.runs.start(spec(), key("k"))).replayed


async def test_a_batch_is_answered_in_order_each_for_itself(harness):
    await harness.worker()
    taken = await harness.start(dedupe={"key": "x"})
    items = await harness.start_many(
        spec(), spec("unknown"), spec(dedupe={"key": "x", "on_conflict": "reject"}), spec(dedupe={"key": "x"}), spec()
    )
    assert ["StartResult", "UnknownTask", "DuplicateRun", "StartResult", "StartResult"] == [
        type(item).__name__ for item in items
    ]
    assert (taken.id, False) == (items[3].run.id, items[3].created)
    assert 3 == harness.tasks.counts("t")["queued"]


@pytest.mark.parametrize("bad", [spec("unknown"), spec(dedupe={"key": "x", "on_conflict": "reject"})])
async def test_an_atomic_batch_is_all_or_nothing(harness, bad):
    await harness.worker()
    await harness.start(dedupe={"key": "x"})
    before = harness.dump()
    with pytest.raises(Exception, match=r"x|unknown"):
        await harness.start_many(spec(), spec(queue="new"), bad, spec(), atomic=True)
    assert before == harness.dump()


async def test_a_batch_with_a_key_is_started_once(harness):
    await harness.worker()
    batch = [spec(), spec("unknown"), spec()]
    first = await harness.start_many(*batch, request=key("b"))
    again = await harness.start_many(*batch, request=key("b"))
    assert [first[0].run.id, first[2].run.id] == [again[0].run.id, again[2].run.id]
    assert again[1].code == "unknown_task"
    assert 2 == harness.tasks.counts("t")["queued"]


async def test_a_batch_that_is_repeated_has_the_same_errors_in_the_same_places(harness):
    await harness.worker()
    taken = await harness.start(dedupe={"key": "x"})
    batch = [spec(), spec("unknown"), spec(dedupe={"key": "x", "on_conflict": "reject"}), spec(delay="soon")]
    first = await harness.start_many(*batch, request=key("b"))
    again = await harness.start_many(*batch, request=key("b"))
    assert [UnknownTask, DuplicateRun, InvalidInput] == [type(item) for item in again[1:]]
    for said, repeated in zip(first[1:], again[1:], strict=True):
        assert (said.detail, said.fields, said.errors) == (repeated.detail, repeated.fields, repeated.errors)
    assert {"run_id": taken.id} == again[2].fields


async def test_a_batch_that_is_repeated_after_a_run_was_removed_says_so_of_that_run(harness):
    worker = await harness.worker()
    first = await harness.start_many(spec(), spec(), request=key("b"))
    for lease in await harness.claim(worker):
        await harness.succeed(worker, lease)
    await harness.runs.delete(first[0].run.id)
    again = await harness.start_many(spec(), spec(), request=key("b"))
    assert ("run_purged", first[1].run.id) == (again[0].code, again[1].run.id)


async def test_the_same_request_may_be_written_in_another_way(harness):
    await harness.worker()
    first = await harness.runs.start(spec(), key("k", b'{"task": "t", "input": {"a": 1, "b": "\\u00fc"}}'))
    again = await harness.runs.start(spec(), key("k", '{"input":{"b":"ü","a":1},"task":"t"}'.encode()))
    assert (first.run.id, True) == (again.run.id, again.replayed)
    with pytest.raises(IdempotencyKeyReused):
        await harness.runs.start(spec(), key("k", b'{"task":"t","input":{"a":2,"b":"\\u00fc"}}'))


DOUBLED = (
    b'{"a":1,"a":2}', b'{"a":1,"a":1}', b'[{"b":{"a":1, "a" : 2}}]', b'{"a":1,"\\u0061":2}',
    b'{"a":1,"a":2,"c":"\\u0022\\u0022"}',
)  # fmt: skip


@pytest.mark.parametrize("text", DOUBLED)
async def test_a_name_that_is_there_twice_is_refused_and_not_guessed(harness, text):
    await harness.worker()
    with pytest.raises(MalformedJson, match="'a' twice"):
        await harness.runs.start(StartRun(task="t", input=msgspec.Raw(text)))


async def test_a_later_start_waits_for_its_time(harness):
    worker = await harness.worker()
    run = await harness.start(delay="10s")
    assert "scheduled" == run.state
    await harness.advance(9_999, worker)
    assert "scheduled" == await harness.state(run.id)
    assert 1 == await harness.stager.tick()
    await harness.advance(1, worker)
    assert run.id == (await harness.one(worker)).run_id
    assert "queued" == (await harness.start(run_at="2020-01-01T00:00:00Z")).state


@pytest.mark.parametrize("state", ["running", "stopping", "terminated"])
async def test_a_parent_that_stops_starts_no_more_children(harness, state):
    worker = await harness.worker()
    parent = await harness.start()
    if state != "terminated":
        await harness.claim(worker)
    if state != "running":
        await harness.stop(parent.id)
        with pytest.raises(InvalidState):
            await harness.start(parent_id=parent.id)
        return
    child = await harness.start(parent_id=parent.id.replace("-", "").upper())
    assert (parent.id, parent.id) == (child.parent_id, child.root_id)


async def test_a_whole_task_is_stopped(harness):
    worker = await harness.worker(declare("t"), declare("u"))
    running = await harness.start()
    await harness.claim(worker)
    waiting = [await harness.start(), await harness.start(delay="1h")]
    other = await harness.start("u")
    assert 3 == await harness.tasks.terminate("t", TerminateTask(reason="enough", actor="me"))
    assert ["stopping", "terminated", "terminated", "queued"] == await harness.states(running, *waiting, other)
    assert {"code": "terminated", "message": "enough", "actor": "me"} == json.loads(
        (await harness.runs.get(running.id)).reason
    )
