"""`python -m counted serve …`: headway, with every SQLite statement counted into the file that COUNTED_IN names."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

COUNT = struct.Struct("=Q")


def read(path: Path) -> int:
    """Return how many statements a counted server has carried out, commits among them."""
    return int(COUNT.unpack(path.read_bytes())[0])


def count() -> None:
    """Put a counter before every connection's `execute`."""
    from headway.store.sqlite import connection

    path = Path(os.environ["COUNTED_IN"])
    path.write_bytes(COUNT.pack(0))
    with path.open("r+b") as file:
        counter = mmap.mmap(file.fileno(), COUNT.size)
    plain = connection.SqliteDatabase.__init__

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        execute = self._execute

        def counting(*arguments: Any) -> Any:
            COUNT.pack_into(counter, 0, COUNT.unpack_from(counter)[0] + 1)
            return execute(*arguments)

        self._execute = counting

    connection.SqliteDatabase.__init__ = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    from headway.cli.main import main

    count()
    main()
