"""The supervisor keeps processes alive, but does not let a broken one run hot."""

import asyncio
import os
import signal
import sys

import pytest
from tests.worker.supervised import ObservedSupervisor

from headway.clock import ManualClock
from headway.worker.processes import supervisor
from headway.worker.processes.stdio import Repetition, Throttle
from headway.worker.processes.supervisor import decide_delay, worker_argv


@pytest.mark.parametrize(
    ("code", "lived_s", "failures", "delay_s"),
    [
        (1, 1, 0, 0.0), (1, 1, 1, 0.5), (1, 1, 2, 1.0), (-9, 1, 3, 2.0), (1, 1, 50, 30.0), (1, 61, 9, 0.0), (75, 1, 9, 0.0),
        (3, 1, 0, 2.0), (3, 1, 1, 2.0), (3, 1, 5, 8.0),
    ],
)  # fmt: skip
def test_restarts_back_off_unless_the_process_was_healthy_or_asked_for_it(code, lived_s, failures, delay_s):
    assert decide_delay(code, lived_s, failures) == delay_s


def test_output_is_passed_on_with_a_prefix_and_processes_drain_at_the_end():
    async def scenario():
        program = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print('up\\nand'); signal.pause()"
        watched = ObservedSupervisor(program, processes=2)
        await watched.supervisor.start()
        await watched.until(lambda: watched.written.count(b"and\n") == 2)
        await watched.supervisor.stop(10)
        return watched

    watched = asyncio.run(scenario())
    assert watched.written.startswith((b"[worker 1] up\n", b"[worker 2] up\n"))
    assert {b"[worker 1] and", b"[worker 2] and"} <= set(bytes(watched.written).splitlines())
    assert [slot.process.returncode for slot in watched.supervisor.slots] == [0, 0]


def test_a_dead_process_is_replaced_and_a_deaf_one_is_killed():
    async def scenario():
        watched = ObservedSupervisor(
            "import signal; signal.signal(15, signal.SIG_IGN); print('up'); [signal.pause() for _ in 'ab']"
        )
        await watched.supervisor.start()
        await watched.until(lambda: watched.written.count(b"up") == 1)
        first = watched.supervisor.slots[0].pid
        os.kill(first, signal.SIGKILL)
        await watched.until(lambda: watched.written.count(b"up") == 2)
        assert watched.supervisor.slots[0].pid != first
        await watched.supervisor.stop(0.05)
        return watched

    watched = asyncio.run(scenario())
    assert watched.said == ["worker 1 was killed by SIGKILL; it starts again in 0 s"]
    assert watched.supervisor.slots[0].process.returncode == -signal.SIGKILL


def test_a_process_that_its_server_has_drained_does_not_come_back_and_the_others_go_on():
    async def scenario():
        program = "import os, sys, time; print('up'); sys.exit(76) if sys.argv[1] == '1' else time.sleep(60)"
        watched = ObservedSupervisor(program, processes=2)
        watched.supervisor._argv = lambda number: [sys.executable, "-uc", program, str(number)]
        await watched.supervisor.start()
        first, second = watched.supervisor.slots
        await first.keeper
        assert (first.starts, first.pid, second.keeper.done()) == (1, None, False)
        await watched.until(lambda: b"[worker 2] up" in watched.written)
        await watched.supervisor.stop(10)
        return watched

    watched = asyncio.run(scenario())
    assert watched.said == ["worker 1 was drained by its server; it is not started again"]


def test_an_app_that_cannot_be_loaded_is_told_once_and_given_up_if_wanted():
    async def scenario():
        watched = ObservedSupervisor("", retry_not_loaded=False)
        watched.supervisor._argv = lambda _: worker_argv("http://127.0.0.1:1", "no.such:app")
        await watched.supervisor.start()
        await watched.supervisor.wait()
        return watched

    os.environ["PYTHONPATH"] = "src"
    try:
        watched = asyncio.run(scenario())
    finally:
        del os.environ["PYTHONPATH"]
    assert watched.said == ["worker 1 cannot load the app (see above): correct it, or name another MODULE:APP"]
    assert b"[worker 1] headway worker: There is no module 'no.such'" in watched.written
    assert watched.supervisor.given_up == 1


@pytest.mark.parametrize("retry_not_loaded", [True, False])
def test_a_process_that_cannot_work_with_its_settings_is_told_once_and_not_started_again(retry_not_loaded):
    async def scenario():
        watched = ObservedSupervisor("", retry_not_loaded=retry_not_loaded)
        watched.supervisor._argv = lambda _: worker_argv("http://127.0.0.1:1", "no.such:app", "--capacity=0")
        await watched.supervisor.start()
        await watched.supervisor.wait()
        return watched

    watched = asyncio.run(scenario())
    assert watched.said == ["worker 1 cannot work with its settings (see above); it is not started again"]
    assert b"capacity: '0' is not a whole number from 1 to 100000" in watched.written
    assert (watched.supervisor.slots[0].starts, watched.supervisor.given_up) == (1, 1)


def test_a_mended_app_has_all_its_output_and_a_new_fault_is_shown_but_not_the_same_one_again(tmp_path):
    """The app's file is the program: it fails with code 3 like a worker that cannot load its app."""
    app = tmp_path / "app.py"

    async def scenario():
        app.write_text("print('loading\\nfirst fault'); raise SystemExit(3)")
        watched = ObservedSupervisor(f"exec(open({str(app)!r}).read())")
        await watched.supervisor.start()
        slot = watched.supervisor.slots[0]
        await watched.until(lambda: watched.said)
        await watched.until(lambda: slot.starts >= 3)  # the second life has said the same, and ended
        app.write_text("print('loading\\nsecond fault'); raise SystemExit(3)")
        await watched.until(lambda: b"second" in watched.written)
        app.write_text("import signal; print('loading\\nmended'); signal.pause()")
        await watched.until(lambda: b"mended" in watched.written)
        await watched.supervisor.stop(0.05)
        return bytes(watched.written).decode().split("[worker 1] "), watched.said

    supervisor.NOT_LOADED_BACKOFF_S, before = 0.05, supervisor.NOT_LOADED_BACKOFF_S
    try:
        written, said = asyncio.run(scenario())
    finally:
        supervisor.NOT_LOADED_BACKOFF_S = before
    faults = ["loading\n", "first fault\n"], ["loading\n", "second fault\n"]
    assert written == ["", *faults[0], *faults[1], "loading\n", "mended\n"]
    assert len(said) == 2, said


def test_output_that_repeats_a_failure_is_kept_back_until_it_differs_or_its_process_does_something_else():
    output = Repetition()

    def life(*chunks, failed):
        output.begin()
        shown = [output.feed(chunk) for chunk in chunks]
        return b"".join(shown), output.end(failed=failed)

    assert life(b"a\n", b"b\n", failed=True) == (b"a\nb\n", b"")
    assert life(b"a", b"\nb\n", failed=True) == (b"", b"")
    assert life(b"a\n", b"c\n", failed=True) == (b"a\nc\n", b"")
    assert life(b"a\n", b"b\n", failed=True) == (b"a\nb\n", b"")
    assert life(b"a\n", failed=False) == (b"", b"a\n"), "it ended in another way, without having differed"
    assert life(b"a\n", b"b\n", failed=True) == (b"a\nb\n", b"")
    long = b"x" * 100_000
    assert life(long, failed=True) == (long, b"")
    assert life(long, failed=True) == (long, b""), "what is long is not remembered"


def test_processes_start_in_the_folder_in_which_the_supervisor_was_made_also_when_it_was_made_anew(
    tmp_path, monkeypatch
):
    async def scenario():
        folder = tmp_path / "app"
        folder.mkdir()
        monkeypatch.chdir(folder)
        watched = ObservedSupervisor("import os; print(os.getcwd()); os.listdir('.')")
        folder.rmdir()
        folder.mkdir()
        await watched.supervisor.start()
        await watched.until(lambda: watched.written.count(b"\n") >= 2)
        await watched.supervisor.stop(0.05)
        return folder, bytes(watched.written)

    folder, written = asyncio.run(scenario())
    assert written.startswith(f"[worker 1] {folder}\n[worker 1] {folder}\n".encode())


def test_a_flood_is_cut_to_the_rate_and_says_so():
    clock, passed = ManualClock(), bytearray()
    throttle = Throttle(passed.extend, clock, limit=10)
    throttle.feed(b"x" * 8)
    throttle.feed(b"y" * 8)
    throttle.feed(b"z" * 8)
    assert passed == b"xxxxxxxxyy"
    clock.advance(1000)
    throttle.feed(b"!")
    assert passed == b"xxxxxxxxyy\n[headway: 14 bytes of output were dropped]\n!"


def test_a_flood_of_records_is_cut_between_lines():
    clock, passed = ManualClock(), bytearray()
    throttle = Throttle(passed.extend, clock, limit=10, shape=lambda words: b"<" + words + b">\n")
    throttle.feed(b"one\ntwo\nthree\n")
    throttle.feed(b"four\n")
    assert passed == b"one\ntwo\n"
    clock.advance(1000)
    throttle.feed(b"five\n")
    assert passed == b"one\ntwo\n<[headway: 11 bytes of output were dropped]>\nfive\n"
