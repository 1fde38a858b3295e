"""Runs the documented clients as they are: with Node, bash and Go, against a server that listens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.compat import seeds

PRELUDE = """
const server = process.env.SERVER, given = JSON.parse(process.env.HEADERS ?? '{}');
globalThis.headers = given;
const ask = globalThis.fetch, later = globalThis.setTimeout, often = globalThis.setInterval;
globalThis.fetch = (url, init = {}) => ask(String(url).replace('https://api.tadabase.io', server),
  init.headers?.['X-Tadabase-App-id'] === 'your_app_id' ? {...init, headers: given} : init);
globalThis.setTimeout = (what, ms, ...rest) => later(what, ms === 5000 ? 10 : ms, ...rest);
globalThis.setInterval = (what, ms, ...rest) => often(what, ms === 2000 ? 20 : ms, ...rest);
globalThis.sendNotification = async text => console.log('notification:', text);
globalThis.sendAlert = async text => console.log('alert:', text);
globalThis.updateProgressBar = percent => console.log('bar:', percent);
"""
"""What the pages leave to the reader: where the server is, headers, a faster clock, and what shows something."""

HOST = "http://localhost:8006"
ID = "bdc8e99d-dd8a-40e9-8840-f9f8eef16c71"
"""The id that the CloudCoin programs say is to be replaced."""
LIMIT_S = 60
PACKAGES = {"node": "nodejs", "go": "golang-go"}


def needs(program: str) -> str:
    """Return where a program is; skip where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (apt-get install {PACKAGES.get(program, program)})")
    return found


def _run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout + done.stderr


class Clients:
    """The programs, for one server. `headers` are what Tadabase's clients are given to send."""

    def __init__(self, folder: Path, url: str, headers: dict[str, str] | None = None) -> None:
        self.folder, self.url, self.headers = folder, url, headers or {}
        self._go: bytes | None = None

    def javascript(self, *texts: str) -> str:
        """Run JavaScript after the prelude; return what it printed."""
        node, script = needs("node"), self.folder / "client.mjs"
        script.write_text("\n".join((PRELUDE, *texts)), encoding="utf-8")
        return _run([node, str(script)], self.folder, SERVER=self.url, HEADERS=json.dumps(self.headers))

    def value(self, *texts: str, of: str) -> Any:
        """Run JavaScript; return what an expression is at its end."""
        said = self.javascript(*texts, f"console.log('\\nvalue:' + JSON.stringify(await ({of})));")
        found = re.findall(r"(?m)^value:(.*)$", said)
        return json.loads(found[-1])

    def _here(self, language: str, task_id: str = ID) -> str:
        text = seeds.cloudcoin(language)
        assert HOST in text
        assert ID in text
        return text.replace(HOST, self.url).replace(ID, task_id)

    def in_javascript(self, task_id: str) -> str:
        """Poll a task with CloudCoin's JavaScript."""
        return self.javascript(self._here("javascript", task_id))

    def in_shell(self, task_id: str) -> str:
        """Poll a task with CloudCoin's shell script."""
        return self.shell(self._here("shell", task_id))

    def shell(self, text: str) -> str:
        """Run a script in which sleeping is short."""
        needs("curl"), needs("jq")
        return _run([needs("bash"), "-c", f"sleep() {{ command sleep 0.02; }}\n{text}"], self.folder)

    def in_go(self, task_id: str) -> str:
        """Poll a task with CloudCoin's Go program, which is compiled once: another id of the same length is put into it."""
        if self._go is None:
            source = self.folder / "main.go"
            source.write_text(self._here("go"), encoding="utf-8")
            _run([needs("go"), "build", "-o", "poller", "main.go"], self.folder, GO111MODULE="off", GOFLAGS="")
            self._go = (self.folder / "poller").read_bytes()
            assert self._go.count(ID.encode()) == 1
        program = self.folder / f"poller-{task_id}"
        program.write_bytes(self._go.replace(ID.encode(), task_id.encode()))
        program.chmod(0o755)
        return _run([str(program)], self.folder)
