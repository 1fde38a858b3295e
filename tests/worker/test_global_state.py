"""Changes of a run to its process end with it, or are named; and its log is kept however it sets up logging."""

import contextvars
import decimal
import locale
import logging
import logging.config
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import pytest
from tests.worker.kit import lease
from tests.worker.programs import argv, environment, request

from headway.protocol.workers import LogReport, SucceededReport
from headway.worker.attempts.global_state import GlobalState
from headway.worker.declaration.app import App

app = App()
log = logging.getLogger("tests.before")
entered, leave = threading.Event(), threading.Event()


def chdir(to):
    os.chdir(to)


def lose_folder(to):
    os.chdir(to)
    Path(to).rmdir()


def timeout(to):
    socket.setdefaulttimeout(7)


def language(to):
    locale.setlocale(locale.LC_TIME, "C.UTF-8" if locale.setlocale(locale.LC_TIME) == "C" else "C")


def umask(to):
    os.umask(0o077)


def setting(to):
    os.environ["LEFT_BEHIND"] = "a secret"


CHANGES = {
    "folder": chdir,
    "lost": lose_folder,
    "timeout": timeout,
    "locale": language,
    "umask": umask,
    "variable": setting,
}
LOGGING = {
    "dictConfig": lambda: logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}}),
    "basicConfig": lambda: logging.basicConfig(force=True, level="ERROR", handlers=[logging.NullHandler()]),
    "shutdown": logging.shutdown,
    "no handlers": logging.getLogger().handlers.clear,
    "disable": lambda: logging.disable(logging.CRITICAL),
    "propagate": lambda: logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "loggers": {"tests": {"level": "INFO", "propagate": False, "handlers": []}}}
    ),
    "fileConfig": lambda: logging.config.fileConfig(Path(__file__).parent / "logging.ini"),
}  # fmt: skip


def both(name):
    """Declare a function as three tasks, one of each executor that shares its process with others."""

    def declare(function):
        app.task(name=f"{name}-thread")(function)
        app.task(name=f"{name}-process", executor="process")(function)

        @app.task(name=f"{name}-inline")
        async def inline(what: str, to: str) -> None:
            return function(what, to)

        return function

    return declare


@both("change")
def change(what: str, to: str) -> None:
    CHANGES[what](to)


@both("set-up")
def set_up(what: str, to: str) -> None:
    LOGGING[what]()


@both("speak")
def speak(what: str, to: str) -> None:
    log.info("heard %s", what)
    logging.getLogger("tests.new").warning("new %s", what)


@both("pid")
def pid(what: str, to: str) -> list:
    return [os.getpid(), str(Path.cwd())]


@app.task
def borrow(to: str) -> str:
    before = Path.cwd()
    os.chdir(to)
    entered.set()
    leave.wait(30)
    found = str(Path.cwd())
    os.chdir(before)
    return found


@app.task
def precise(digits: int) -> list:
    found = [decimal.getcontext().prec, variable.get()]
    decimal.getcontext().prec = digits
    variable.set(digits)
    return found


variable = contextvars.ContextVar("variable", default=0)
SPEC = "tests.worker.test_global_state:app"


@pytest.fixture(autouse=True)
def kept(tmp_path):
    """Undo the changes of a test, also those that the worker leaves."""
    root = logging.getLogger()
    before = Path.cwd(), os.umask(0), locale.setlocale(locale.LC_ALL), root.level, [*root.handlers]
    os.umask(before[1])
    yield
    os.chdir(before[0])
    os.umask(before[1])
    locale.setlocale(locale.LC_ALL, before[2])
    socket.setdefaulttimeout(None)
    logging.disable(logging.NOTSET)
    root.setLevel(before[3])
    root.handlers[:] = before[4]
    logging.getLogger("tests").propagate = True
    for logger in logging.getLogger().manager.loggerDict.values():
        logger.disabled = False
    os.environ.pop("LEFT_BEHIND", None)


def executed(works, task, run_id, what="", to=""):
    works.link.give(lease(task, run_id, input={"what": what, "to": str(to)}))
    outcome = works.link.outcome(run_id)
    assert isinstance(outcome, SucceededReport), outcome
    return msgspec.json.decode(outcome.output) if outcome.output else None


def until(happened):
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def umask_now():
    return int(Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0], 8)


STATE = {
    "folder": Path.cwd, "lost": Path.cwd, "timeout": socket.getdefaulttimeout,
    "locale": lambda: locale.setlocale(locale.LC_ALL), "umask": umask_now,
}  # fmt: skip
NAMES = {
    "folder": "the working folder", "lost": "the working folder", "timeout": "the default timeout of sockets",
    "locale": "the locale", "umask": "the umask",
}  # fmt: skip


@pytest.mark.parametrize("executor", ["thread", "inline"])
@pytest.mark.parametrize("what", STATE)
def test_what_a_run_alone_in_its_process_leaves_is_set_back_and_told_once_with_its_task(
    start, tmp_path, what, executor
):
    works = start(app, spec=SPEC)
    works.link.until(lambda: works.link.claims)
    before = STATE[what]()
    for number in range(3):
        to = tmp_path / str(number if what == "lost" else 0)
        to.mkdir(exist_ok=True)
        executed(works, f"change-{executor}", str(number), what, to)
        until(lambda: works.said[1:] and STATE[what]() == before)
    told = [said for said in works.said if NAMES[what] in said]
    assert len(told) == 1, works.said
    assert told[0].startswith(f"{NAMES[what]} changed during a run of 'change-{executor}', from ")
    assert told[0].endswith(": it is set back")


def test_the_folder_is_back_before_the_run_is_reported(start, tmp_path):
    works = start(app, spec=SPEC)
    works.link.until(lambda: works.link.claims)
    before = Path.cwd()
    for number in range(20):
        executed(works, "change-thread", str(number), "folder", tmp_path)
        assert Path.cwd() == before


def test_a_folder_is_not_taken_from_a_run_that_may_have_chosen_it_and_all_of_them_are_named(start, tmp_path):
    works = start(app, spec=SPEC)
    works.link.until(lambda: works.link.claims)
    entered.clear()
    leave.clear()
    works.link.give(lease("borrow", "long", input={"to": str(tmp_path)}))
    assert entered.wait(20)
    executed(works, "pid-thread", "short")
    assert Path.cwd() == tmp_path, "it is the other run's"
    leave.set()
    assert msgspec.json.decode(works.link.outcome("long").output) == str(tmp_path)
    (told,) = [said for said in works.said if "the working folder" in said]
    assert "changed during runs of 'borrow', 'pid-thread', from" in told
    assert told.endswith(": it is set back when they have ended")


def test_a_variable_that_a_run_has_set_is_named_without_its_value_and_stays(start, tmp_path):
    works = start(app, spec=SPEC)
    executed(works, "change-thread", "one", "variable")
    until(lambda: "LEFT_BEHIND" in str(works.said))
    assert os.environ["LEFT_BEHIND"] == "a secret"
    (told,) = [said for said in works.said if "the environment" in said]
    assert told == (
        "the environment changed during a run of 'change-thread', LEFT_BEHIND: "
        "it stays, and child processes start without it"
    )


def test_a_child_is_as_it_was_for_its_next_run(start, tmp_path, capfd):
    works = start(app, spec=SPEC, processes=1)
    before = executed(works, "pid-process", "before")
    executed(works, "change-process", "changes", "folder", tmp_path)
    assert executed(works, "pid-process", "after") == before
    said = "headway worker: the working folder changed during a run of 'change-process', "
    works.end()
    assert said in capfd.readouterr().out


def test_a_context_of_its_own_ends_with_a_run(start):
    works = start(app, spec=SPEC, threads=1)
    before = decimal.Context().prec
    for number in range(2):
        works.link.give(lease("precise", str(number), input={"digits": 3}))
        assert msgspec.json.decode(works.link.outcome(str(number)).output) == [before, 0]


@pytest.mark.parametrize("executor", ["thread", "inline", "process"])
@pytest.mark.parametrize("what", LOGGING)
def test_a_run_that_sets_up_logging_ends_nothing_of_the_logs_of_later_ones(start, what, executor):
    logging.getLogger().setLevel(logging.INFO)  # pytest has a handler there, so that the worker leaves the level alone
    works = start(app, spec=SPEC, processes=1)
    works.link.until(lambda: works.link.claims)
    executed(works, f"set-up-{executor}", "sets", what)
    executed(works, f"speak-{executor}", "speaks", what)
    said = [report.message for report in works.link.reports if isinstance(report, LogReport)]
    assert said == [f"heard {what}", f"new {what}"]


def test_handlers_that_a_run_adds_stay_and_are_named(start):
    works = start(app, spec=SPEC)
    executed(works, "set-up-thread", "sets", "basicConfig")
    until(lambda: "the root logger's handlers changed during a run of 'set-up-thread'" in str(works.said))
    assert [type(handler) for handler in logging.getLogger().handlers] == [logging.NullHandler]


def test_an_app_that_sets_up_no_logging_shows_warnings_and_nothing_else(start, capfd):
    works = start(app, spec=SPEC, processes=1)
    executed(works, "speak-process", "speaks", "it")
    works.end()
    printed = capfd.readouterr().out
    assert "new it" in printed
    assert "heard it" not in printed


def test_a_worker_drains_by_sigterm_although_a_run_has_taken_the_signal(server):
    program = argv(server)
    program[program.index("tests.worker.rough:app")] = "tests.worker.test_global_state:ignoring"
    with subprocess.Popen(program, env=environment(), stderr=subprocess.PIPE, text=True) as worker:
        run = {"run_id": "r1", "task": "ignore", "epoch": 1, "attempt": 1, "max_attempts": 3, "input": {}}
        request(server, "/v1/workers")
        server.leases.put([run])
        told = next(line for line in worker.stderr if "signal handlers" in line)
        assert "signal handlers of the worker changed during a run of 'ignore', SIGTERM: it is set back" in told
        until(lambda: worker.send_signal(signal.SIGTERM) or worker.poll() is not None)
        assert worker.returncode == 0


ignoring = App()


@ignoring.task
async def ignore() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_looking_costs_a_run_a_few_microseconds():
    state = GlobalState(lambda _: None)
    state.begin(None)
    begun, count = time.perf_counter(), 2_000
    for _ in range(count):
        state.ended("task")
        state.look_quickly()
    assert (time.perf_counter() - begun) / count < 1e-3, "it is about 3 µs on a machine at rest"
