"""The pool of children: who has a turn when, and what is left of a child that has died."""

import asyncio

import msgspec
import pytest

from headway.errors import Overloaded
from headway.evaluation import children as pool
from headway.evaluation.children import EvaluationDied, EvaluationPool
from headway.evaluation.messages import Check, Look, LookAnswer, Render, RenderAnswer, Verdict


@pytest.fixture
async def children():
    made = EvaluationPool(3)
    yield made
    await made.close()


async def turns_of(children, organisation, order, over, most=20):
    async with children.turn(organisation, most):
        order.append(organisation)
        await over.wait()


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_child_is_always_left_for_other_organisations(children):
    order, over = [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for organisation in (1, 1, 1, 1, 2):
            group.create_task(turns_of(children, organisation, order, over))
        await settled()
        assert order == [1, 1, 2]
        over.set()
    assert order == [1, 1, 2, 1, 1]


async def test_organisations_have_their_turns_round_robin():
    children = EvaluationPool(1)
    order, over = [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for organisation in (1, 1, 1, 1, 2, 2, 3):
            group.create_task(turns_of(children, organisation, order, over))
        await settled()
        over.set()
    assert order == [1, 1, 2, 3, 1, 2, 1]


async def test_who_goes_while_waiting_holds_nothing(children):
    order, over = [], asyncio.Event()
    waiting = [asyncio.ensure_future(turns_of(children, 1, order, over)) for _ in range(4)]
    await settled()
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    over.set()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(turns_of(children, 2, order, over))
    assert order == [1, 1, 2, 2, 2]


async def test_an_organisation_has_so_many_waiting_and_no_more(children):
    order, over = [], asyncio.Event()
    waiting = [asyncio.ensure_future(turns_of(children, 1, order, over)) for _ in range(4)]
    await settled()
    with pytest.raises(Overloaded):
        await turns_of(children, 1, order, over, 2)
    over.set()
    await turns_of(children, 2, order, over)
    await asyncio.gather(*waiting)
    assert order.count(1) == 4


async def ask(child, request, kind):
    await child.ask(request)
    return msgspec.json.decode(await child.answer(), type=kind)


HOPELESS = Check(
    '{"$ref":"#/$defs/0","$defs":{'
    + ",".join(f'"{i}":{{"allOf":[{{"$ref":"#/$defs/{i + 1}"}},{{"$ref":"#/$defs/{i + 1}"}}]}}' for i in range(40))
    + ',"40":{}}}',
    "{}",
)


async def test_a_check_that_takes_too_long_ends_its_child_and_the_next_turn_has_a_new_one(children):
    async with children.turn(1) as child:
        with pytest.raises(EvaluationDied):
            await ask(child, HOPELESS, Verdict)
    async with children.turn(1) as child:
        assert (await ask(child, Check('{"type":"string"}', '"x"'), Verdict)).valid
    async with children.turn(1) as child:
        assert not (await ask(child, Check('{"type":"string"}', "1"), Verdict)).valid
        for _ in ("the first", "all"):
            (fault,) = msgspec.json.decode(await child.answer(), type=Verdict).faults
            assert (fault.path, fault.code) == ("", "type")
    async with children.turn(1) as child:
        assert "elsewhere" in (await ask(child, Check('{"$ref":"http://elsewhere.example/"}'), Verdict)).unusable


async def test_a_check_that_needs_too_much_memory_ends_its_child_alone(children):
    schema = '{"anyOf":[' + ",".join(f'{{"items":{{"const":"{i}"}}}}' for i in range(300)) + "]}"
    async with children.turn(1) as child:
        assert not (await ask(child, Check(schema, "[" + "1," * 60_000 + "1]"), Verdict)).valid
        with pytest.raises(EvaluationDied):
            await child.answer()
    async with children.turn(1) as child:
        assert (await ask(child, Look("{{ record.a }}"), LookAnswer)).fields == ["a"]


async def test_a_child_that_has_kept_much_is_replaced_before_the_next_turn(children, monkeypatch):
    async with children.turn(1) as child:
        await ask(child, Look("x"), LookAnswer)
        first = child.pid
    async with children.turn(2) as child:
        await ask(child, Look("x"), LookAnswer)
        assert child.pid == first
        monkeypatch.setattr(pool, "RESIDENT_MAX", 1)
    async with children.turn(1) as child:
        await ask(child, Look("x"), LookAnswer)
        assert child.pid != first


async def test_rows_that_are_left_when_the_time_of_a_turn_is_over_wait_for_the_next(children):
    slow = "{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}"
    rows = [{"l": [1] * 60}] * 50
    async with children.turn(1) as child:
        await child.ask(Render([(slow, False)], rows))
        answers = []
        while not (answers and answers[-1].later) and len(answers) < len(rows):
            answers.append(msgspec.json.decode(await child.answer(), type=RenderAnswer))
        assert 2 <= len(answers)
        assert (await ask(child, Look("x"), LookAnswer)).error == ""  # nothing is left of the rows
