"""Inputs against the schemas of their tasks: what is too much for the event loop, and schemas from before there was a limit."""

import json

import msgspec
import pytest
from msgspec.structs import replace
from tests.commands import FunctionCommand
from tests.harness import declare, spec

from headway.errors import InputTooCostly, InvalidInput, SchemaTooCostly
from headway.features.schedules.model import Outcome
from headway.kernel.schemas.cost import Cost
from headway.protocol import workers as wire
from headway.protocol.runs import StartRun
from headway.protocol.schedules import CreateSchedule
from headway.runs import schemas

TEXTS = {"type": "array", "items": {"anyOf": [{"const": f"x{i}"} for i in range(100)] + [{"type": "string"}]}}
MANY = ["text"] * 40_000
DOUBLED = {
    "$ref": "#/$defs/0",
    "$defs": {**{str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(28)}, "28": {}},
}


async def test_an_input_that_takes_long_to_check_is_checked_elsewhere(harness):
    await harness.worker(declare("t", input_schema=TEXTS))
    run = await harness.start(given=MANY)
    assert json.loads((await harness.runs.get(run.id)).input) == MANY
    with pytest.raises(InvalidInput) as caught:
        await harness.start(given=[*MANY, 1])
    assert not isinstance(caught.value, InputTooCostly)
    assert [each["pointer"] for each in caught.value.errors] == ["/input/40000"]


async def test_a_batch_and_children_are_checked_elsewhere_as_well(harness):
    worker = await harness.worker(declare("t"), declare("much", input_schema=TEXTS))
    started = await harness.start_many(spec("much", MANY), spec("much", [*MANY, 1]), spec("much", []))
    assert [getattr(each, "code", "") for each in started] == ["", "invalid_input", ""]
    await harness.start()
    lease = next(lease for lease in await harness.claim(worker) if lease.task == "t")
    for given, refusal in ((MANY, []), ([*MANY, 1], ["invalid_input"])):
        run = StartRun(task="much", input=msgspec.Raw(json.dumps(given).encode()))
        child = wire.ChildReport(run_id=lease.run_id, epoch=lease.epoch, run=run, name=str(len(given)))
        answer = await harness.report(worker, child)
        assert [each.code for each in answer.rejected] == refusal


async def test_a_schema_that_refers_to_the_schema_of_schemas_can_be_used(harness):
    await harness.worker(declare("t", input_schema={"$ref": "https://json-schema.org/draft/2020-12/schema"}))
    await harness.start(given={"type": "object"})
    with pytest.raises(InvalidInput):
        await harness.start(given={"type": "nonsense"})


async def test_a_schema_that_was_declared_before_there_was_a_limit_fails_its_own_starts_only(harness):
    await harness.worker(declare("t"), declare("good", input_schema={"type": "object"}))
    task = harness.service.store.definitions.task("t")
    text = json.dumps(DOUBLED, separators=(",", ":"))
    await harness.store.write(FunctionCommand(lambda uow: uow.define(replace(task, input_schema=text))))
    with pytest.raises(SchemaTooCostly) as caught:
        await harness.start()
    assert caught.value.status == 422
    assert caught.value.errors[0]["pointer"].startswith("/$defs/")
    started = await harness.start_many(spec("good"), spec("t"), spec("good"))
    assert [getattr(each, "code", "") for each in started] == ["", "schema_too_costly", ""]


async def test_a_schedule_takes_no_input_that_takes_long_to_check(harness):
    await harness.worker(declare("t", input_schema=TEXTS))
    with pytest.raises(InputTooCostly):
        await harness.schedules.create(
            CreateSchedule(name="n", task="t", occurrence="@hourly", input=msgspec.Raw(json.dumps(MANY).encode()))
        )
    given = msgspec.Raw(json.dumps(MANY).encode())
    declared = wire.ScheduleDeclaration(name="n", task="t", occurrence="@hourly", input=given)
    with pytest.raises(InputTooCostly):
        await harness.worker(declare("t", input_schema=TEXTS), schedules=[declared])


async def test_a_slot_whose_input_has_come_to_take_long_to_check_is_skipped_and_says_why(harness):
    await harness.worker(declare("t"))
    schedule = await harness.schedules.create(
        CreateSchedule(name="n", task="t", occurrence="@hourly", input=msgspec.Raw(json.dumps(MANY).encode()))
    )
    await harness.worker(declare("t", input_schema=TEXTS))
    harness.clock.advance(3_600_000)
    await harness.scheduler.tick()
    (slot, *_), _ = await harness.schedules.slots(schedule.id, None, None, 10)
    assert (slot.outcome, slot.why) == (Outcome.SKIPPED, "input_too_costly")


async def test_errors_are_few_and_short_however_many_there_are(harness):
    await harness.worker(declare("t", input_schema={"type": "array", "items": {"type": "string", "maxLength": 3}}))
    for given, told in (([1] * 200, 20), (["x" * 10_000] * 50, 20), ([1] * 10_000, 20), ([1] * 300_000, 1)):
        with pytest.raises(InvalidInput) as caught:
            await harness.start(given=given)
        assert len(caught.value.errors) >= told
        assert len(caught.value.errors) <= 20
        assert all(len(each["message"]) <= 500 for each in caught.value.errors)
        assert caught.value.errors[0]["pointer"] == "/input/0"


@pytest.mark.parametrize(("characters", "checked"), [(10, True), (1_000_000, False)])
async def test_what_cannot_be_judged_in_time_is_too_costly(harness, characters, checked):
    await harness.worker(declare("t", input_schema={"items": {"pattern": "[ab]*a[ab]{2000}c"}}))
    with pytest.raises(InvalidInput) as caught:
        await harness.start(given=["ab" * (characters // 4) + "a" * (characters // 2)])
    assert isinstance(caught.value, InputTooCostly) is not checked


def test_compiled_schemas_are_forgotten_when_they_take_much_memory(monkeypatch):
    monkeypatch.setattr(schemas, "MEMORY_MAX", 100_000)
    known = schemas.Schemas(None)
    for number in range(200):
        assert known.check('{"minimum":' + str(number) + "}", "500", 500) is None
    assert len(known._known) < 100
    assert known._memory < 110_000
    assert all(isinstance(each.cost, Cost) for each in known._known.values())
