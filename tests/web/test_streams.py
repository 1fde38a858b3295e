"""Server-sent events: snapshot, then deltas; resumable from any number, gap-free; ended once for good."""

from __future__ import annotations

import asyncio

from tests.web.kit import NOBODY

from headway.kernel.event import Event
from headway.protocol import workers as wire
from headway.web.frames import FRAMES_MAX, Frames

URL = "/v1/runs/{}/events"


def seqs(messages):
    return [message.data["seq"] for message in messages if message.event.startswith("run.") and message.id]


async def test_a_stream_begins_with_the_run_and_tells_its_whole_history(serving):
    async with serving() as server:
        run_id = await server.finished(output=b"7")
        stream = server.listen(URL.format(run_id))
        first, *events, end = await stream.rest()
        assert (first.event, first.data["seq"], first.data["run"]["output"], first.id) == ("snapshot", 3, 7, "0")
        assert [(event.event, event.id) for event in events] == [
            ("run.state", "1"),
            ("run.state", "2"),
            ("run.state", "3"),
        ]
        assert set(events[0].data) == {"seq", "type", "time", "run_id", "data"}
        assert (end.event, end.id, end.data["data"]) == ("end", None, {"state": "succeeded"})
        assert stream.status == 200


async def test_a_stream_is_declared_as_one_that_nobody_may_hold_back(serving):
    async with serving() as server:
        stream = server.listen(URL.format(await server.finished()))
        await stream.rest()
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.text.startswith(b"retry: ")


async def test_what_happens_while_watching_arrives_without_gap_or_repeat(serving):
    async with serving() as server:
        run_id = await server.running()
        stream = server.listen(URL.format(run_id))
        await stream.until("run.state")
        for number in range(20):
            await server.log(run_id, str(number))
            if number % 3:
                await asyncio.sleep(0)
        await server.succeed(run_id)
        assert seqs(await stream.rest()) == list(range(2, 24))


async def test_a_stream_resumes_strictly_after_the_last_id_from_every_place(serving):
    async with serving() as server:
        run_id = await server.running()
        for number in range(3):
            await server.log(run_id, str(number))
        await server.succeed(run_id)
        for after in range(6):
            for asked in ({"last_event_id": str(after)}, {}):
                stream = server.listen(URL.format(run_id) + ("" if asked else f"?after={after}"), **asked)
                first, *rest = await stream.rest()
                assert first.id == str(after), "an early drop must lose nothing"
                assert seqs(rest) == list(range(after + 1, 7))


async def test_the_header_of_a_reconnect_goes_before_the_url(serving):
    async with serving() as server:
        run_id = await server.finished()
        stream = server.listen(URL.format(run_id) + "?after=0", last_event_id="2")
        assert seqs(await stream.rest()) == [3]


async def test_from_now_tells_only_what_comes(serving):
    async with serving() as server:
        run_id = await server.running()
        stream = server.listen(URL.format(run_id) + "?from=now")
        (first,) = await stream.until("snapshot")
        assert (first.id, first.data["seq"]) == ("2", 2)
        await server.succeed(run_id)
        assert seqs(await stream.rest()) == [3]


async def test_coming_back_after_the_end_is_204(serving):
    async with serving() as server:
        run_id = await server.finished()
        stream = await server.listen(URL.format(run_id), last_event_id="3").begun()
        assert (stream.status, stream.text) == (204, b"")


async def test_ids_that_cannot_be_are_400(serving):
    async with serving() as server:
        run_id = await server.finished()
        for bad in ("x", "-1", "4", "1.5", "99999999999999999999", "\u0661", " 1", "1e1"):
            sent = bad if bad.isascii() else "\u00b9"
            stream = await server.listen(URL.format(run_id), last_event_id=sent).begun()
            assert stream.status == 400, bad
        assert (await server.listen(URL.format(run_id) + "?after=4").begun()).status == 400
        assert (await server.listen(URL.format(NOBODY)).begun()).status == 404


async def test_progress_has_no_id_and_only_the_latest_is_told(serving):
    async with serving() as server:
        run_id = await server.running()
        stream = server.listen(URL.format(run_id))
        await stream.until("run.state")
        await stream.until("run.state")
        for done in (1, 2, 3):
            server.clock.advance(1)
            await server.report(wire.ProgressReport(run_id=run_id, epoch=1, done=done, total=4))
        (told,) = await stream.until("run.progress")
        assert (told.id, told.data["data"]["done"], told.data["data"]["percent"]) == (None, 3, 75.0)
        await stream.leave()


async def test_a_drain_asks_to_reconnect_and_closes(serving):
    async with serving() as server:
        run_id = await server.running()
        streams = [server.listen(URL.format(run_id)), server.listen("/v1/events")]
        for stream in streams:
            await stream.begun()
        await streams[0].until("snapshot")
        server.api.drain()
        for stream in streams:
            assert (await stream.rest())[-1].event == "reconnect"
        assert server.api.streams.open == 0
        assert (await server.listen(URL.format(run_id)).begun()).status == 503


async def test_a_client_that_leaves_leaves_nothing_behind(serving):
    async with serving() as server:
        run_id = await server.running()
        stream = server.listen(URL.format(run_id))
        await stream.until("snapshot")
        assert server.api.streams.open == 1
        await stream.leave()
        assert (server.api.streams.open, server.store.notifier.count, len(server.api.waiting)) == (0, 0, 0)


async def test_more_streams_than_the_limit_are_503(serving):
    async with serving(streams_max=1) as server:
        run_id = await server.running()
        first = server.listen(URL.format(run_id))
        await first.until("snapshot")
        second = await server.listen(URL.format(run_id)).begun()
        assert second.status == 503
        await first.leave()


async def test_a_slow_reader_does_not_hold_up_the_others(serving):
    async with serving() as server:
        run_id = await server.running()
        slow, fast = server.listen(URL.format(run_id)), server.listen(URL.format(run_id))
        await slow.until("snapshot")
        stuck = asyncio.Event()

        async def never(message):
            await stuck.wait()

        slow._send = never
        await fast.until("snapshot")
        await server.succeed(run_id)
        assert (await fast.rest())[-1].event == "end"
        slow._gone.set()
        stuck.set()


async def test_the_feed_tells_of_all_runs_from_now_on_and_resumes_by_position(serving):
    async with serving() as server:
        before = await server.start()
        stream = server.listen("/v1/events")
        (begin,) = await stream.until("begin")
        one, two = await server.start(), await server.start()
        told = [await stream.next(), await stream.next()]
        assert [event.data["run_id"] for event in told] == [one, two]
        await stream.leave()
        again = server.listen("/v1/events", last_event_id=begin.id)
        await again.until("begin")
        assert (await again.next()).id == told[0].id
        await again.leave()
        whole = server.listen("/v1/events?from=start")
        await whole.until("begin")
        assert (await whole.next()).data["run_id"] == before
        await whole.leave()


async def test_the_feed_can_be_narrowed_to_some_runs(serving):
    async with serving() as server:
        runs = [await server.start() for _ in range(3)]
        stream = server.listen(f"/v1/events?from=start&run_id={runs[0]},{runs[2].replace('-', '')}")
        await stream.until("begin")
        assert [(await stream.next()).data["run_id"] for _ in range(2)] == [runs[0], runs[2]]
        await stream.leave()
        assert (await server.listen("/v1/events?run_id=x").begun()).status == 400
        assert (await server.listen(f"/v1/events?after={10**15}").begun()).status == 400


async def test_a_worker_hears_at_once_what_is_to_stop_and_that_it_is_to_go(serving):
    async with serving() as server:
        stream = server.listen(f"/v1/workers/{server.worker}/signals")
        run_id = await server.running()
        await stream.begun()
        await server.post(f"/v1/runs/{run_id}:terminate", {"grace": "10s"})
        (stop,) = await stream.until("stop")
        assert (stop.data["run_id"], stop.data["grace_ms"]) == (run_id, 10_000)
        await server.post(f"/v1/workers/{server.worker}:drain")
        await stream.until("drain")
        session = server.service.sessions.get(server.worker)
        assert session.streams == 1
        await stream.leave()
        assert session.streams == 0


async def test_a_drain_leaves_the_workers_streams_open_until_the_very_end(serving):
    async with serving() as server:
        stream = server.listen(f"/v1/workers/{server.worker}/signals")
        await stream.begun()
        server.api.drain()
        await asyncio.sleep(0)
        assert server.service.sessions.get(server.worker).streams == 1
        server.api.close()
        assert (await stream.rest())[-1].event == "reconnect"
        assert (await server.listen(f"/v1/workers/{NOBODY}/signals").begun()).status == 404


def test_a_line_is_encoded_once_for_all_who_watch():
    frames = Frames()
    event = Event(position=1, run_id="r", seq=1, type="run.log", time=0, data="{}")
    assert frames.line(event) is frames.line(event)
    for position in range(FRAMES_MAX + 10):
        frames.line(Event(position=position, run_id="r", seq=1, type="run.log", time=0, data="{}"))
    assert len(frames._frames) == FRAMES_MAX
