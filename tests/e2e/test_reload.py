"""`--reload`: a change of the app's files starts workers again with the new code, and runs are handed back."""

import signal
import subprocess
import sys

import pytest
from tests.faults.waiting import until

import headway

APP = """
import asyncio
import headway
from reloaded_parts.words import WORD
app = headway.App()

@app.task
async def word() -> str:
    return WORD

@app.task
async def endless() -> str:
    while WORD == "first":
        await asyncio.sleep(0.02)
    return WORD
"""


class Folder:
    """A folder with an app of two files, and what is started there."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.parts = deployment.folder / "reloaded_parts"
        self.parts.mkdir()
        (self.parts / "__init__.py").touch()
        (deployment.folder / "reloaded_app.py").write_text(APP)
        self.say("first")

    def say(self, word):
        (self.parts / "words.py").write_text(f"WORD = {word!r}\n")

    def start(self, *command):
        with self.deployment.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "headway", *command], cwd=self.deployment.folder, stdout=log, stderr=log,
                env=self.deployment.environment(), start_new_session=True,
            )  # fmt: skip
        self.deployment.processes.append(process)
        return process

    def serve(self, *options):
        return self.start(*self.deployment.serve_arguments("--drain", "60s", *options, app="reloaded_app:app"))


@pytest.fixture
def folder(deployment):
    return Folder(deployment)


@pytest.fixture
def client(deployment):
    with headway.Client(deployment.url, retries=50) as found:
        yield found


def known(client):
    return any(task.name == "word" for task in client.tasks.list())


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.parametrize("apart", [False, True], ids=["local workers", "workers apart"])
def test_a_change_is_loaded_and_what_runs_is_handed_back(deployment, folder, client, apart):
    started = [folder.start(*deployment.serve_arguments()), folder.start("--url", deployment.url, "worker", "reloaded_app:app", "--reload")
               ] if apart else [folder.serve("--reload")]  # fmt: skip
    until(lambda: known(client), 30, "the worker is there")
    assert client.runs.start("word").result(30) == "first"
    run = client.runs.start("endless")
    until(lambda: run.refresh().state == "running", 20, "it runs")
    folder.say("other")  # of the same length, and perhaps within the same second
    assert run.result(30) == "other"
    assert (run.refresh().attempt, run.run.crashes) == (1, 0), "it was handed back"
    assert "words.py changed: starts again, 1 run handed back" in deployment.logged()
    for process in reversed(started):
        stop(process)


def test_a_file_that_cannot_be_imported_shows_its_traceback_and_is_waited_for(deployment, folder, client):
    process = folder.serve("--reload")
    until(lambda: known(client), 30, "the worker is there")
    for mistake, shown in (("WORD = 1 / 0", "ZeroDivisionError: "), ("WORD = (", "SyntaxError: ")):
        (folder.parts / "words.py").write_text(f"{mistake}\n")
        until(lambda shown=shown: shown in deployment.logged(), 30, f"{shown} is shown")
        assert "words.py" in deployment.logged().rpartition("Traceback")[2]
        until(
            lambda: "Waiting for a change of its files." in deployment.logged().rpartition("Traceback")[2],
            20,
            deployment.logged,
        )
    folder.say("mended")
    assert client.runs.start("word").result(30) == "mended"
    assert "it starts again in" not in deployment.logged(), "nothing is tried again before something has changed"
    stop(process)


def test_an_app_that_is_not_there_yet_is_waited_for(deployment, folder, client):
    app = deployment.folder / "reloaded_app.py"
    text = app.read_text()
    app.unlink()
    process = folder.serve("--reload")
    until(lambda: "Waiting for a change of its files." in deployment.logged(), 30, "it waits")
    app.write_text(text)
    until(lambda: known(client), 30, "the worker is there")
    assert client.runs.start("word").result(30) == "first"
    stop(process)


def test_without_reload_a_change_is_not_loaded(deployment, folder, client):
    process = folder.serve()
    until(lambda: known(client), 30, "the worker is there")
    folder.say("other")
    before = {worker.id for worker in client.workers.list()}
    for _ in range(5):
        assert client.runs.start("word").result(30) == "first"
    assert {worker.id for worker in client.workers.list()} == before
    stop(process)


def test_reload_without_an_app_is_refused(folder, deployment):
    process = folder.start(*deployment.serve_arguments("--reload"))
    assert process.wait(30) == 2
    assert "--reload (HEADWAY_RELOAD) is for local workers: name the app as MODULE:APP" in deployment.logged()
