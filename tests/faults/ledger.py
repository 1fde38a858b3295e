"""What was acknowledged and what happened, kept outside the store: the only witness that these tests believe.

Each line is one `write` to a file opened with O_APPEND, so lines of many processes do not mix, and what a process wrote
before it was killed stays written.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Ledger:
    """An append-only file of JSON lines that any process may add to."""

    def __init__(self, path: Path) -> None:
        """Open or create it."""
        self.path = Path(path)
        self._file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def note(self, what: str, **line: Any) -> None:
        """Add a line, with the time in milliseconds."""
        text = json.dumps({"what": what, "at": time.time_ns() // 1_000_000, **line}) + "\n"
        os.write(self._file, text.encode())

    def lines(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what was noted so far, in order."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in found if what is None or line["what"] == what]

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
