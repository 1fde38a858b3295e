"""Fixtures of a server and of the environment of commands."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.faults.waiting import until

import headway
from headway.kernel.authority import GRANTABLE
from headway.protocol.access import CreateKey
from headway.serving.offline import create_key

ROOT = Path(__file__).parents[2]


APP = '''
import headway

app = headway.App()

@app.task
async def greet(ctx: headway.Context, who: str = "日本語 😀") -> str:
    """Say hello: 日本語 😀."""
    ctx.log(f"hello {who}")
    ctx.publish(who, "said")
    return who

@app.task
async def spare(ctx: headway.Context) -> None:
    """Do nothing."""

@app.task(retry=headway.Retry(max_attempts=1))
async def broken(ctx: headway.Context) -> None:
    """Fail."""
    raise ValueError("日本語 😀")
'''


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server with a worker and a key; yields a client of it, its URL, its key and its folder."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "streams_app.py").write_text(APP)
    store = f"sqlite:///{folder}/headway.db"
    key = create_key(store, CreateKey(name="all", scopes=list(GRANTABLE)))[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "headway", "serve", "streams_app:app", "--port", "0", "--store", store],
        cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        drained = threading.Thread(target=lambda: [None for _ in process.stderr])
        drained.start()
        with headway.Client(url, key=key) as client:
            until(lambda: {"greet", "broken"} <= {task.name for task in client.tasks.list()}, 60, "the worker is there")
            yield client, url, key, folder
    finally:
        process.terminate()
        process.wait(60)
        drained.join(60)
        process.stderr.close()


@pytest.fixture(scope="module")
def carry_out(server):
    """Return a function that carries out a command on a stdout of some way."""
    _, url, key, _ = server
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.streams"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment(HEADWAY_URL=url, HEADWAY_KEY=key, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
    )  # fmt: skip

    def call(way, arguments):
        program.stdin.write(json.dumps({"way": way, "arguments": arguments}) + "\n")
        program.stdin.flush()
        found = json.loads(program.stdout.readline())
        return found["code"], found["out"], found["err"]

    yield call
    program.communicate()
