"""A wall clock that jumps while a process runs: libfaketime in front of the C library; the monotonic clock stays true."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

LIBRARY: Final = next(
    (str(path) for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))),
    None,
)
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (apt-get install faketime)")


class WallClock:
    """The wall clock of whatever is started with its `environment`."""

    def __init__(self, folder: Path, ahead_s: int = 0) -> None:
        """It begins so many seconds ahead of the machine's."""
        self._file = folder / "wall-clock"
        self.set(ahead_s)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is given to have this clock."""
        assert LIBRARY is not None
        return {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            # What it does for programs whose timed waits hang lets ours, on the monotonic clock, come back at once: a
            # thread that waits for the interpreter then spins, and beside other load a server stands still for seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, ahead_s: int) -> None:
        """Jump: from now on it is so many seconds ahead of the machine's, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}s")
        new.replace(self._file)
