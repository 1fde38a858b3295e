"""The environment variables of user code: those of the process without Headway's settings and keys.

User code must not see the store's secret, the URL of the store with its password, or a key. So no setting of the server
is passed on, future ones included, and a worker gets its key through a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from headway import config
from headway.worker.processes.orphan import prctl

_PR_SET_DUMPABLE: Final = 4
WITHHELD: Final = config.variables() - config.SHARED
"""Every setting, future ones included, except the servers' addresses."""


def handed_on(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a process which executes user code inherits."""
    return {name: value for name, value in environment.items() if name not in WITHHELD}


def withhold() -> None:
    """Remove Headway's settings and keys from this process's environment, before it loads user code."""
    for name in WITHHELD & os.environ.keys():
        del os.environ[name]


def conceal() -> None:
    """Make this process undumpable, so that processes of the same user cannot read its memory or `/proc/PID/environ`.

    User code runs in such processes. On Linux only, and not against root. There are no core dumps either, and tools
    such as py-spy need root.
    """
    prctl(_PR_SET_DUMPABLE, 0)
