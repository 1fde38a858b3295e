"""Execute a command of uv with the package index that pip is configured with: `python tools/index.py uv pip install …`.

uv does not read pip's files and variables. What is set in uv's own variables stays.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

VARIABLES: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "no-index": "UV_NO_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""The options of pip that say where packages come from, and uv's variables for them."""
SECTIONS: Final = ("global", "install", ":env:")
"""Sections of pip's configuration; the last one counts."""


def variables(configured: str) -> dict[str, str]:
    """Return uv's variables for what `pip config list` has printed."""
    found = {}
    for section in SECTIONS:
        for line in configured.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}.") and (variable := VARIABLES.get(name.removeprefix(f"{section}."))):
                words = str(ast.literal_eval(value)).split()
                found[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(words)
    if "UV_INDEX" in found:  # pip takes the best version of all indexes, uv that of the first which has any
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment with uv's variables for the index of this Python's pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    configured = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return variables(configured) | dict(given)


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], environment())  # noqa: S606 - it is what this is for
