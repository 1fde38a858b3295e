"""The installed command and an HTTP client for servers that it starts."""

import contextlib
import subprocess
import sys

from tests.faults.server import ROOT

from headway.client.errors import ConnectionLost

HEADWAY = [sys.executable, "-m", "headway"]


class Caller:
    """The command line, as somebody who has a key or none."""

    def __init__(self, deployment, key=None):
        self.deployment, self.key = deployment, key

    def __call__(self, *arguments, code=0):
        shown = {} if self.key is None else {"HEADWAY_KEY": self.key}
        done = subprocess.run(
            [*HEADWAY, *arguments], cwd=ROOT, env=self.deployment.environment(HEADWAY_URL=self.deployment.url, **shown),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.stdout, done.stderr, self.deployment.logged()[-2000:])
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr


def key(text):
    """Return what stands after the public id."""
    return text.strip().split("_", 2)[2]


def ready(server):
    """Whether it has workers too; who has no key may ask this."""
    with contextlib.suppress(ConnectionLost):
        return server.http.request("GET", "/readyz", timeout_s=5).status == 200
    return False
