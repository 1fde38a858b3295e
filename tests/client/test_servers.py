"""Several servers on one store: both clients stay with one as long as it answers, then go on with the next."""

import asyncio
import inspect
import socket
import threading
from contextlib import contextmanager
from time import monotonic

import pytest
from tests.client import samples
from tests.client.samples import END, ID, AsyncFakePace, FakePace, line, sse
from tests.client.server import Answer, problem, script, serving, stream

from headway import errors
from headway.client.aio.client import AsyncClient
from headway.client.errors import ConnectionLost, WaitTimeout
from headway.client.servers import Servers, urls
from headway.client.sync.client import Client

RUN = Answer(202, samples.run())
DONE = Answer(200, samples.run("succeeded", output=1))


# -- the rotation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("http://a:1", ["http://a:1"]),
        (" http://a:1/ , b:2,", ["http://a:1", "b:2"]),
        (["http://a:1", "http://b:2,http://c:3"], ["http://a:1", "http://b:2", "http://c:3"]),
        ("http://a:1,http://b:2,http://a:1/", ["http://a:1", "http://b:2"]),
        (None, ["http://127.0.0.1:8006"]),
        ("", ["http://127.0.0.1:8006"]),
    ],
)
def test_servers_are_named_in_one_text_or_in_a_list(said, known, monkeypatch):
    monkeypatch.delenv("HEADWAY_URL", raising=False)
    monkeypatch.delenv("HEADWAY_SERVER", raising=False)
    assert urls(said) == known


def test_the_environment_names_them_if_nobody_does(monkeypatch):
    monkeypatch.delenv("HEADWAY_SERVER", raising=False)
    monkeypatch.setenv("HEADWAY_URL", "http://a:1,http://b:2")
    assert urls() == ["http://a:1", "http://b:2"]
    monkeypatch.setenv("HEADWAY_SERVER", "http://c:3")
    assert urls() == ["http://c:3"]
    assert urls("http://d:4") == ["http://d:4"]


@pytest.mark.parametrize("said", [",", " , ", [], [""]])
def test_a_list_without_a_server_is_refused(said):
    with pytest.raises(errors.BadParameter, match="names no server; write http"):
        urls(said)


def test_a_server_is_left_once_however_many_find_that_it_fails():
    first, second, third = each = "one", "two", "three"
    servers = Servers(each)
    servers.leave(first)
    servers.leave(first)
    assert servers.current is second
    servers.leave(second)
    servers.leave(third)
    assert servers.current is first


def test_the_only_server_is_never_left():
    told = []
    servers = Servers("a", left=lambda *left: told.append(left))
    servers.leave("a")
    assert not servers.round().failed(ConnectionLost())
    assert (servers.current, told) == ("a", [])


def test_a_round_asks_each_server_once_before_it_waits():
    tries = Servers("abc").round()
    asked = []
    for _ in range(3):
        for goes_on in (True, True, False):
            asked.append(tries.server())
            assert tries.failed(ConnectionLost()) is goes_on
    assert "".join(asked) == "abcabcabc"


@pytest.mark.parametrize(
    "why",
    [errors.TooManyRequests(), errors.IdempotencyInProgress(), errors.RunNotFound(), ConnectionLost(closed=True)],
    ids=lambda error: error.code,
)
def test_what_is_not_the_servers_trouble_makes_nobody_leave_it(why):
    servers = Servers("ab")
    assert not servers.round().failed(why)
    assert servers.current == "a"


# -- both clients, each with two servers -------------------------------------------------------------------------------


class Calls:
    """A client, blocking or async, used in the same words."""

    def __init__(self, client):
        self.client = client

    async def __call__(self, made):
        return await made if inspect.isawaitable(made) else made

    async def each(self, made):
        return [one async for one in made] if hasattr(made, "__aiter__") else list(made)

    @property
    def pauses(self):
        return self.client._caller.pace.pauses


@pytest.fixture(params=["blocking", "async"])
def using(request):
    """Give a scenario a client of those servers, and return what it returns."""

    def use(servers, scenario, **options):
        known = [server if isinstance(server, str) else server.url for server in servers]

        async def with_async():
            async with AsyncClient(known, pace=AsyncFakePace(), **options) as client:
                return await scenario(Calls(client), client)

        async def with_blocking():
            with Client(",".join(known), pace=FakePace(), **options) as client:
                return await scenario(Calls(client), client)

        return asyncio.run(with_async() if request.param == "async" else with_blocking())

    return use


@contextmanager
def two(first, second):
    with (
        serving(first if callable(first) else script(first)) as one,
        serving(second if callable(second) else script(second)) as other,
    ):
        yield one, other


@contextmanager
def nobody():
    """A URL where a connection is refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def nothing_comes_back():
    """A URL where packets vanish: the queue of connections is full, so that a further one is not answered at all."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


async def start(call, client):
    run = await call(client.runs.start("backup"))
    return run, call.pauses


def keys(*fakes):
    return [request.headers["idempotency-key"] for fake in fakes for request in fake.requests]


def test_requests_go_to_one_server_as_long_as_it_answers(using):
    async def scenario(call, client):
        for _ in range(5):
            await call(client.runs.start("backup"))
        with pytest.raises(errors.RunNotFound):
            await call(client.runs.get(ID))

    with two(lambda asked: RUN if asked.method == "POST" else problem(404, "run_not_found"), RUN) as (one, other):
        using((one, other), scenario)
        assert (len(one.requests), len(other.requests)) == (6, 0)


@pytest.mark.parametrize(
    "failure",
    [
        Answer(drop=True),
        Answer(chunks=[b'{"id', None]),
        problem(503, "draining", retry_after=1),
        problem(503, "storage_failed", retry_after=5),
        problem(503, "storage_busy"),
        problem(502, "of a proxy"),
    ],
    ids=["dies", "dies in its answer", "draining", "storage failed", "storage busy", "proxy"],
)
def test_when_a_server_fails_the_next_is_asked_at_once_with_the_same_key(using, failure):
    with two(failure, RUN) as (one, other):
        run, pauses = using((one, other), start, retries=0)
        assert (pauses, len(one.requests), len(other.requests)) == ([], 1, 1)
        assert len(set(keys(one, other))) == 1
        assert run.url == f"{other.url}/v1/runs/{ID}"


def test_a_server_that_is_not_there_is_passed_over_and_not_asked_again(using):
    async def scenario(call, client):
        await start(call, client)
        _, pauses = await start(call, client)
        return client.url, pauses

    with nobody() as gone, serving(script(RUN)) as other:
        assert using((gone, other), scenario) == (other.url, [])
        assert len(other.requests) == 2


def test_a_machine_that_is_not_there_is_passed_over_soon(using, monkeypatch):
    monkeypatch.setattr("headway.client.servers.CONNECT_S", 0.2)
    with nothing_comes_back() as gone, serving(script(RUN)) as other:
        using((gone, other), start, timeout=60, retries=0)
        assert len(other.requests) == 1


def test_where_no_machine_is_the_error_says_how_long_it_was_waited_for(using, monkeypatch):
    async def scenario(call, client):
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.2 s"):
            await call(client.runs.start("backup"))

    monkeypatch.setattr("headway.client.servers.CONNECT_S", 0.2)
    with nothing_comes_back() as gone, nothing_comes_back() as too:
        using((gone, too), scenario, timeout=60, retries=0)


def test_a_server_that_accepts_and_never_answers_is_left_after_the_timeout(using):
    release = threading.Event()

    def handle(_):
        release.wait(20)
        return Answer(drop=True)

    async def scenario(call, client):
        await start(call, client)
        return await start(call, client)

    with two(handle, RUN) as (one, other):
        _, pauses = using((one, other), scenario, timeout=0.2, retries=0)
        assert (pauses, len(one.requests), len(other.requests)) == ([], 1, 2)
        assert len(set(keys(one, other))) == 2
        release.set()


def test_the_back_off_comes_after_a_whole_round_and_tries_are_rounds(using):
    async def scenario(call, client):
        with pytest.raises(errors.Draining):
            await call(client.runs.start("backup"))
        return call.pauses

    with two(Answer(drop=True), problem(503, "draining", retry_after=1)) as (one, other):
        assert using((one, other), scenario, retries=2) == [1.25, 1.25]
        assert (len(one.requests), len(other.requests)) == (3, 3)


def test_a_server_that_has_too_much_to_do_for_us_is_asked_again_and_not_left(using):
    with two(script(problem(429, "too_many_requests", retry_after=1), RUN), RUN) as (one, other):
        _, pauses = using((one, other), start)
        assert (pauses, len(one.requests), len(other.requests)) == ([1.25], 2, 0)


def test_a_removal_whose_answer_was_lost_with_its_server_is_done(using):
    async def scenario(call, client):
        run = await call(client.runs.get(ID))
        await call(run.delete())

    with two(script(DONE, Answer(drop=True)), problem(410, "run_purged")) as (one, other):
        using((one, other), scenario)
        assert [request.method for request in one.requests[:2]] == ["GET", "DELETE"]
        assert [request.method for request in other.requests] == ["DELETE"]


async def numbers(call, client):
    run = await call(client.runs.get(ID))
    seen = [event.seq for event in await call.each(run.events()) if event.type != "snapshot"]
    return seen, call.pauses


@pytest.mark.parametrize("end", [[None], [], [sse("reconnect", {})]], ids=["breaks", "ends", "is sent away"])
def test_a_stream_is_resumed_at_the_other_server_after_the_last_event(using, end):
    with two(script(DONE, stream(line(1), line(2), *end)), stream(line(3), END)) as (one, other):
        assert using((one, other), numbers) == ([1, 2, 3], [])
        assert other.requests[0].headers["last-event-id"] == "2"
        assert other.requests[0].path == one.requests[1].path


def test_a_stream_that_no_server_keeps_open_is_not_asked_for_without_a_pause(using):
    first = script(DONE, stream(line(1)), stream(line(3)), stream(line(5), END))
    with two(first, script(stream(line(2)), stream(line(4)))) as (one, other):
        seen, pauses = using((one, other), numbers)
        assert seen == [1, 2, 3, 4, 5]
        assert pauses == [0.1, 0.1]


def test_a_stream_whose_servers_are_all_gone_waits_for_one_to_come_back(using):
    first = script(DONE, stream(line(1), None), problem(503, "draining"), stream(line(2), END))
    with two(first, Answer(drop=True)) as (one, other):
        assert using((one, other), numbers) == ([1, 2], [0.05, 0.2])


@pytest.mark.parametrize("failure", [Answer(drop=True), problem(503, "draining")], ids=["dies", "draining"])
def test_a_wait_goes_on_at_the_other_server(using, failure):
    async def scenario(call, client):
        run = await call(client.runs.start("backup"))
        return await call(run.result()), call.pauses

    with two(script(RUN, failure), script(Answer(200, samples.run("running")), DONE)) as (one, other):
        result, pauses = using((one, other), scenario)
        assert (result, pauses) == (1, [0.5])  # before the second of two long polls that were answered in no time
        assert [request.headers["prefer"] for request in other.requests] == ["wait=30", "wait=30"]


def test_the_end_of_a_wait_is_no_reason_to_leave_the_server(using):
    release = threading.Event()

    def handle(asked):
        if "wait_for" in asked.path:
            release.wait(20)
        return RUN

    async def scenario(call, client):
        client._caller.pace.now_s = monotonic
        run = await call(client.runs.start("backup"))
        with pytest.raises(WaitTimeout):
            await call(run.wait(0.2))
        return client.url

    with two(handle, RUN) as (one, other):
        assert using((one, other), scenario) == one.url
        assert other.requests == []
        release.set()


def test_health_is_that_of_a_server_that_is_there(using):
    async def scenario(call, client):
        return (await call(client.health())).status

    with nobody() as gone, serving(script(Answer(200, {"status": "ready", "version": "1"}))) as other:
        assert using((gone, other), scenario) == "ready"


def test_a_closed_client_asks_nobody(using):
    async def scenario(call, client):
        await call(client.close())
        with pytest.raises(ConnectionLost, match="was closed"):
            await call(client.runs.start("backup"))

    with two(RUN, RUN) as (one, other):
        using((one, other), scenario)
        assert one.requests == other.requests == []
