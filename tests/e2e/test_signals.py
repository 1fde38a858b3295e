"""Signals, lost terminals and process 1: no run is cut off, no child is left, and a second Ctrl-C ends at once."""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.server import ROOT, Process, Server
from tests.faults.waiting import pause, until

import headway

APP = "tests.e2e.signalled:app"
AT_ONCE_S = 15
"""Much less than the drain, however busy the machine is."""
DRAIN = ("--drain", "60s")
AS_PROCESS_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_unshare():
    found = shutil.which("unshare")
    return found and not subprocess.run([*AS_PROCESS_1, "true"], capture_output=True, check=False).returncode


@pytest.fixture
def process_1():
    if not may_unshare():
        pytest.skip("a PID namespace needs root, or a kernel that lets users make one")
    return AS_PROCESS_1


def worker(deployment, *options, prefix=(), app=APP):
    return Process(
        deployment, [*prefix, sys.executable, "-m", "headway", "--url", deployment.url, "worker", app, *options]
    )


def child(pid):
    """Return the first process that a process has started."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def descendants(pid):
    """Return the names of everything below a process, also of what has ended and was not waited for."""
    with contextlib.suppress(FileNotFoundError):
        for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                yield Path(f"/proc/{found}/comm").read_text().strip()
                yield from descendants(int(found))


def local_worker(deployment):
    """Return the process id of the only worker."""
    with headway.Client(deployment.url) as client:
        (found,) = (one for one in client.workers.list() if one.state != "gone" and not one.name.startswith("built-in"))
        return found.pid


def begun(deployment):
    return (deployment.folder / "begun").exists()


def until_declared(client, name):
    """Wait for a worker: a server answers before its own workers are there."""
    until(lambda: any(task.name == name for task in client.tasks.list()), 30, "the worker is there")


def start_gated(deployment):
    with headway.Client(deployment.url) as client:
        until_declared(client, "gated")
        run_id = client.runs.start("gated").id
    until(lambda: begun(deployment), 30, "it has begun")
    return run_id


def open_gate(deployment):
    (deployment.folder / "gate").touch()


def state_after_restart(deployment, run_id):
    server = Server(deployment).start()
    with headway.Client(deployment.url) as client:
        run = client.runs.get(run_id).run
    assert server.stop() == 0
    return run.state, run.attempt, run.crashes


def test_a_drain_hands_back_the_runs_of_a_local_worker_whose_event_loop_is_blocked(deployment):
    server = Server(deployment, "--drain", "3s", app=APP).start()
    run_id = start_gated(deployment)
    with headway.Client(deployment.url) as client:
        blocking = client.runs.start("blocks").id
        until((deployment.folder / "blocked").exists, 30, "the loop is blocked")
    assert server.stop() == 0
    assert state_after_restart(deployment, run_id) == ("queued", 0, 0)
    assert state_after_restart(deployment, blocking) == ("queued", 0, 0)


def test_a_server_that_is_process_1_leaves_no_zombies_and_ends_with_its_exit_code(deployment, process_1):
    server = Server(deployment, app=APP, prefix=process_1).start()
    first = child(server.process.pid)
    with headway.Client(deployment.url) as client:
        until_declared(client, "orphans")
        assert client.runs.start("orphans", number=15).result(60) == 15
        until(lambda: "sleep" not in descendants(first), 20, "every orphan is reaped")
        run_id = start_gated(deployment)
        os.kill(first, signal.SIGTERM)
        open_gate(deployment)
        assert server.process.wait(30) == 0
    assert state_after_restart(deployment, run_id)[0] == "succeeded"


def test_workers_that_are_process_1_leave_no_zombies(deployment, process_1):
    server = Server(deployment).start()
    workers = worker(deployment, prefix=process_1)
    with headway.Client(deployment.url) as client:
        until_declared(client, "orphans")
        assert client.runs.start("orphans", number=15).result(60) == 15
    first = child(workers.pid)
    until(lambda: "sleep" not in descendants(first), 20, "every orphan is reaped")
    os.kill(first, signal.SIGTERM)
    assert workers.wait(30) == 0
    assert server.stop() == 0


def test_the_exit_code_of_a_program_in_process_1_is_a_shells(process_1):
    program = "from headway.worker.processes.reaper import leave_process_1 as leave; import os; leave(); os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [*process_1, sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert done.returncode == 128 + 9


def test_sighup_lets_a_server_go_on_and_says_what_was_read_again(deployment):
    server = Server(deployment, app=APP).start()
    server.process.send(signal.SIGHUP)
    until(lambda: "server.reloaded" in deployment.logged(), 20, "it says so")
    server.knows("gated")
    assert server.stop() == 0


def test_nohup_keeps_sighup_ignored(deployment):
    server = Server(deployment, app=APP, prefix=["nohup"]).start()
    server.process.send(signal.SIGHUP)
    with headway.Client(deployment.url) as client:
        until(lambda: any(task.name == "orphans" for task in client.tasks.list()), 30, "the worker is there")
    os.kill(local_worker(deployment), signal.SIGHUP)
    run_id = start_gated(deployment)
    open_gate(deployment)
    with headway.Client(deployment.url) as client:
        client.runs.get(run_id).result(30)
    assert server.stop() == 0
    assert "server.reloaded" not in deployment.logged()


def test_sighup_to_workers_lets_runs_finish_and_loads_the_app_again(deployment):
    server = Server(deployment).start()
    workers = worker(deployment, *DRAIN)
    with headway.Client(deployment.url) as client:
        until(lambda: any(task.name == "gated" for task in client.tasks.list()), 30, "the worker is there")
        run_id = start_gated(deployment)
        before = local_worker(deployment)
        workers.send(signal.SIGHUP)
        until(lambda: "draining: waits for 1 run, 60 s at most" in deployment.logged(), 20, "it drains")
        open_gate(deployment)
        assert client.runs.get(run_id).result(30) == before
        after = client.runs.start("gated").result(60)
    assert after != before
    assert "worker 1 has drained and starts again" in deployment.logged()
    workers.send(signal.SIGTERM)
    assert workers.wait(30) == 0
    assert server.stop() == 0


@pytest.mark.parametrize("options", [(APP,), ()], ids=["with local workers", "workers apart"])
def test_the_second_signal_ends_at_once_and_hands_back_what_runs(deployment, options):
    server = Server(deployment, *DRAIN, app="".join(options)).start()
    told = server.process if options else worker(deployment, *DRAIN)
    with headway.Client(deployment.url) as client:
        until(lambda: any(task.name == "gated" for task in client.tasks.list()), 30, "the worker is there")
    run_id = start_gated(deployment)
    told.send(signal.SIGINT)
    until(lambda: "draining: waits for 1 run" in deployment.logged(), 20, "it says what it waits for")
    assert "a second" in deployment.logged()
    told.send(signal.SIGINT)
    assert told.wait(AT_ONCE_S) == 0
    if not options:
        assert server.stop() == 0
    assert state_after_restart(deployment, run_id) == ("queued", 0, 0)


def test_sigterm_to_a_whole_group_is_one_order(deployment):
    server = Server(deployment, *DRAIN, app=APP).start()
    with headway.Client(deployment.url) as client:
        until(lambda: any(task.name == "gated" for task in client.tasks.list()), 30, "the worker is there")
    run_id, pid = start_gated(deployment), local_worker(deployment)
    server.process.send(signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    until(lambda: "draining: waits for 1 run" in deployment.logged(), 20, "it drains")
    os.kill(pid, signal.SIGTERM)
    pause(0.3)  # what must not happen would have begun
    open_gate(deployment)
    assert server.process.wait(30) == 0
    assert state_after_restart(deployment, run_id)[:2] == ("succeeded", 1)


def in_terminal(deployment, command):
    """Start a command that has a terminal of its own; return the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    program = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
        env=deployment.environment(), start_new_session=True,
    )  # fmt: skip
    deployment.processes.append(process)
    os.close(theirs)
    return process, ours


@pytest.mark.parametrize("apart", [False, True], ids=["a server", "workers"])
def test_a_terminal_that_is_closed_begins_a_drain(deployment, apart):
    server = Server(deployment, app="" if apart else APP)
    if apart:
        server.start()
    command = ["--url", deployment.url, "worker", APP] if apart else deployment.serve_arguments(app=APP)
    process, terminal = in_terminal(deployment, [sys.executable, "-m", "headway", *command, *DRAIN])
    with headway.Client(deployment.url, retries=20) as client:
        until(server._answers if apart else lambda: answers(client), 30, "it answers")
        until(lambda: any(task.name == "gated" for task in client.tasks.list()), 30, "the worker is there")
        run_id = start_gated(deployment)
        os.close(terminal)
        pause(0.3)  # it must not end meanwhile
        assert process.poll() is None
        open_gate(deployment)
    assert process.wait(30) == 0
    if apart:
        assert server.stop() == 0
    assert state_after_restart(deployment, run_id)[:2] == ("succeeded", 1)


def answers(client):
    with contextlib.suppress(headway.HeadwayError):
        return client.tasks.list() is not None


@pytest.mark.parametrize("apart", [False, True], ids=["a server", "workers"])
def test_output_that_nobody_reads_any_more_does_not_break_the_drain(deployment, apart):
    server = Server(deployment, app="" if apart else APP)
    if apart:
        server.start()
    command = ["--url", deployment.url, "worker", APP] if apart else deployment.serve_arguments(app=APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "headway", *command, *DRAIN], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
        env=deployment.environment(), start_new_session=True,
    )  # fmt: skip
    deployment.processes.append(process)
    with headway.Client(deployment.url, retries=20) as client:
        until(lambda: answers(client), 30, "it answers")
        until(lambda: any(task.name == "gated" for task in client.tasks.list()), 30, "the worker is there")
        run_id = start_gated(deployment)
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        pause(0.3)
        open_gate(deployment)
    assert process.wait(30) == 0
    if apart:
        assert server.stop() == 0
    assert state_after_restart(deployment, run_id)[:2] == ("succeeded", 1)
