"""Commands and the tasks that they start: by name, by alias, and none for words that are paths of other APIs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from headway.kernel.authority import RESERVED as BUILT_IN

ALIASES: Final = {
    "create-wallet-backup": "backup",
    "consolidate-coins": "join",
    "deposit-coins-to-locker": "locker",
    "transfer-between-local-wallets": "transfer",
    "import-coins-from-file": "convert",
}
"""Long names of commands in CloudCoin's documentation."""
ALSO_BY_PUT: Final = {"fix": "fix"}
"""Commands by PUT; `PUT /fix` fixes all coins."""
RESERVED: Final = frozenset(
    {
        "automations", "data-tables", "history", "logs", "pages", "run", "status", "tables", "task", "tasks",
        "terminate", "users", "webhooks", "workflows",
    }
)  # fmt: skip
"""Names of other APIs' paths below the same prefix; never commands."""

_ALIAS: Final = re.compile(r"(?:(GET|POST|PUT) )?/?([A-Za-z0-9][A-Za-z0-9_-]{0,99})=([^\x00-\x1f\x7f]{1,200})")


class Commands:
    """Table of commands: the documented names, and the aliases of the settings."""

    def __init__(self, aliases: Iterable[str] = ()) -> None:
        """`aliases` are `command=task`, `GET command=task` or `PUT command=task`; raise ValueError for others."""
        self._tasks = {("POST", name): task for name, task in ALIASES.items()}
        self._tasks |= {("PUT", name): task for name, task in ALSO_BY_PUT.items()}
        for text in aliases:
            match = _ALIAS.fullmatch(text.strip())
            if match is None:
                raise ValueError(f"{text[:100]!r} is not an alias of a command; write command=task or GET command=task")
            method, name, task = match.groups()
            if name in RESERVED:
                raise ValueError(f"{name!r} cannot be a command: it is a path of another API")
            self._tasks[method or "POST", name] = task

    def task(self, method: str, name: str) -> str | None:
        """Return the task that a command starts, or None; a GET or a PUT needs an entry in the table.

        Built-in tasks are no commands, since the surface may work without keys.
        """
        task = self._tasks.get((method, name))
        if task is not None:
            return task
        return name if method == "POST" and name not in RESERVED and not name.startswith(BUILT_IN) else None
