"""The environment of user code: that of our process, without what is Headway's own.

User code has no business with the secret of the store, the store's URL and its password, or anybody's key. So no setting
of the server is handed on at all, which holds for settings to come as well, and a worker is given its key through a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from headway.client.credential import FILE_VARIABLE, VARIABLE
from headway.config import RENAMED, Settings, variable
from headway.worker.orphan import prctl

_PR_SET_DUMPABLE: Final = 4
WITHHELD: Final = frozenset({
    VARIABLE, FILE_VARIABLE, *map(variable, RENAMED), *(variable(field.name) for field in msgspec.structs.fields(Settings)),
})  # fmt: skip


def handed_on(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what a process that executes user code is given of this environment."""
    return {name: value for name, value in environment.items() if name not in WITHHELD}


def withhold() -> None:
    """Remove what is not handed on from this process's environment, before user code is loaded into it."""
    for name in WITHHELD & os.environ.keys():
        del os.environ[name]


def conceal() -> None:
    """Have the kernel keep this process's memory and first environment (`/proc/PID/environ`) from others of the same user.

    User code runs in such processes. On Linux only; who may trace any process (root) can still look. There is no core dump
    either, and tools such as py-spy need root.
    """
    prctl(_PR_SET_DUMPABLE, 0)
