"""How many starts are let in is learnt from how long they take."""

import asyncio
import json

import msgspec
import pytest
from tests.web.kit import serving

from headway.server import ROUTES
from headway.web import limiter as module
from headway.web.limiter import LIMIT_FIRST, LIMIT_MAX, LIMIT_MIN, TARGET_S, ConcurrencyLimiter

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


def has_room(limiter, route):
    return limiter.has_room(route.scope, gives_way=route.gives_way)


def passes(limiter, clock, number, takes_s):
    """Let so many in at once, and let each take so long."""
    entered = [limiter.enter() for _ in range(number)]
    clock.now_s += takes_s
    for entered_s in entered:
        limiter.leave(entered_s)


def test_whoever_comes_to_a_crowd_is_refused_until_somebody_has_left(clock):
    limiter = ConcurrencyLimiter()
    entered = [limiter.enter() for _ in range(LIMIT_FIRST)]
    assert not has_room(limiter, START)
    limiter.leave(entered[0])
    assert has_room(limiter, START)


def test_late_answers_make_it_smaller_once_for_all_that_were_late_together(clock):
    limiter = ConcurrencyLimiter()
    passes(limiter, clock, LIMIT_FIRST, TARGET_S * 2)
    assert LIMIT_FIRST / 2 < limiter.limit < LIMIT_FIRST
    for _ in range(50):
        passes(limiter, clock, LIMIT_FIRST, TARGET_S * 2)
    assert limiter.limit == LIMIT_MIN, "some are let in however slow it is"
    assert has_room(limiter, START)


def test_answers_in_time_make_it_larger_only_where_it_is_nearly_reached(clock):
    limiter = ConcurrencyLimiter()
    passes(limiter, clock, 10, TARGET_S / 10)
    assert limiter.limit == LIMIT_FIRST
    for _ in range(100):
        passes(limiter, clock, LIMIT_FIRST, TARGET_S / 10)
    assert LIMIT_FIRST < limiter.limit <= LIMIT_MAX
    assert limiter.in_flight == 0


def test_lists_come_after_starts_and_looking_at_a_run_before_all_of_them(clock):
    limiter = ConcurrencyLimiter()
    assert has_room(limiter, LIST)
    entered = [limiter.enter() for _ in range(LIMIT_FIRST)]
    assert has_room(limiter, LIST)
    assert not has_room(limiter, START)
    limiter.leave(entered[0])
    assert has_room(limiter, START)
    assert not has_room(limiter, LIST)
    assert has_room(limiter, READ)
    clock.now_s += TARGET_S
    assert has_room(limiter, LIST)


def test_it_is_pressed_until_a_while_after_it_was_nearly_full(clock):
    limiter = ConcurrencyLimiter()
    passes(limiter, clock, LIMIT_FIRST // 2, 0)
    assert not limiter.pressed
    passes(limiter, clock, LIMIT_FIRST // 2 + 1, 0)
    assert limiter.pressed, "a commit answers all at once, and the next come at once"
    passes(limiter, clock, 1, TARGET_S * 2)
    assert not limiter.pressed


async def test_an_input_that_is_checked_aside_teaches_the_crowd_nothing(monkeypatch):
    monkeypatch.setattr(module, "TARGET_S", 0.0)  # everything is late
    schema = {"items": {"anyOf": [*({"const": f"x{i}"} for i in range(100)), {"type": "string"}]}}
    async with serving() as server:
        await server.declare("t", input_schema=msgspec.Raw(json.dumps(schema).encode()))
        before = server.api.limiter.limit
        assert (await server.post("/v1/runs", {"task": "t", "input": ["text"] * 40_000})).status == 202
        assert server.api.limiter.limit == before
        later = asyncio.ensure_future(server.post("/v1/runs", {"task": "t", "input": ["text"]}))
        assert (await later).status == 202
        assert server.api.limiter.limit < before
