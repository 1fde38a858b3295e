"""How many starts are let in is learnt from how long they take."""

import asyncio
import json

import msgspec
import pytest
from tests.http.kit import serving

from headway.http import crowd as module
from headway.http.crowd import FIRST, LIMITS, SOON_S, Crowd
from headway.http.routes import ROUTES

START, LIST, READ = (
    next(route for route in ROUTES if route.name == name)
    for name in ("POST /v1/runs", "GET /v1/runs", "GET /v1/runs/{id}")
)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 0.0

    monkeypatch.setattr(module, "monotonic", lambda: Clock.now_s)
    return Clock


def has_room(crowd, route):
    return crowd.has_room(route.scope, gives_way=route.gives_way)


def passes(crowd, clock, number, takes_s):
    """Let so many in at once, and let each take so long."""
    entered = [crowd.enter() for _ in range(number)]
    clock.now_s += takes_s
    for entered_s in entered:
        crowd.leave(entered_s)


def test_whoever_comes_to_a_crowd_is_refused_until_somebody_has_left(clock):
    crowd = Crowd()
    entered = [crowd.enter() for _ in range(FIRST)]
    assert not has_room(crowd, START)
    crowd.leave(entered[0])
    assert has_room(crowd, START)


def test_late_answers_make_it_smaller_once_for_all_that_were_late_together(clock):
    crowd = Crowd()
    passes(crowd, clock, FIRST, SOON_S * 2)
    assert FIRST / 2 < crowd.limit < FIRST
    for _ in range(50):
        passes(crowd, clock, FIRST, SOON_S * 2)
    assert crowd.limit == LIMITS[0], "some are let in however slow it is"
    assert has_room(crowd, START)


def test_answers_in_time_make_it_larger_only_where_it_is_nearly_reached(clock):
    crowd = Crowd()
    passes(crowd, clock, 10, SOON_S / 10)
    assert crowd.limit == FIRST
    for _ in range(100):
        passes(crowd, clock, FIRST, SOON_S / 10)
    assert FIRST < crowd.limit <= LIMITS[1]
    assert crowd.inside == 0


def test_lists_come_after_starts_and_looking_at_a_run_before_all_of_them(clock):
    crowd = Crowd()
    assert has_room(crowd, LIST)
    entered = [crowd.enter() for _ in range(FIRST)]
    assert has_room(crowd, LIST)
    assert not has_room(crowd, START)
    crowd.leave(entered[0])
    assert has_room(crowd, START)
    assert not has_room(crowd, LIST)
    assert has_room(crowd, READ)
    clock.now_s += SOON_S
    assert has_room(crowd, LIST)


def test_it_is_pressed_until_a_while_after_it_was_nearly_full(clock):
    crowd = Crowd()
    passes(crowd, clock, FIRST // 2, 0)
    assert not crowd.pressed
    passes(crowd, clock, FIRST // 2 + 1, 0)
    assert crowd.pressed, "a commit answers all at once, and the next come at once"
    passes(crowd, clock, 1, SOON_S * 2)
    assert not crowd.pressed


async def test_an_input_that_is_checked_aside_teaches_the_crowd_nothing(monkeypatch):
    monkeypatch.setattr(module, "SOON_S", 0.0)  # everything is late
    schema = {"items": {"anyOf": [*({"const": f"x{i}"} for i in range(100)), {"type": "string"}]}}
    async with serving() as server:
        await server.declare("t", input_schema=msgspec.Raw(json.dumps(schema).encode()))
        before = server.api.crowd.limit
        assert (await server.post("/v1/runs", {"task": "t", "input": ["text"] * 40_000})).status == 202
        assert server.api.crowd.limit == before
        later = asyncio.ensure_future(server.post("/v1/runs", {"task": "t", "input": ["text"]}))
        assert (await later).status == 202
        assert server.api.crowd.limit < before
