"""Launch of processes that execute user code, with import path, folder, environment and umask fixed beforehand.

Python puts the working folder, or that of the script, first on the import path, so that a `queue.py` there replaces the
standard library's module. Our processes are started without it (`-P`); `loading.py` adds the app's folder where
it hides nothing of the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import headway

_PACKAGE: Final = str(Path(headway.__file__).parent.parent)
"""The folder in which this package lies."""
_STANDARD_LIBRARY: Final = str(Path(os.__file__).parent)
_ITS_OTHERS: Final = ("lib-dynload", f"python{sys.version_info.major}{sys.version_info.minor}.zip")
"""Names of its other entries."""


def command(program: str, path: Sequence[str], *arguments: str) -> list[str]:
    """Return the command line of a Python process that calls `main()` of the module `program`, with this import path."""
    found = [*path] if _PACKAGE in path else [*path, _PACKAGE]
    return [
        sys.executable,
        "-P",
        "-c",
        f"import sys; sys.path[:] = {found!r}; from {program} import main; main()",
        *arguments,
    ]


def import_path() -> list[str]:
    """Return this process's import path, the standard library first, and without the folder of its script, `-c` or `-m`."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    script = file is not None and getattr(main, "__spec__", None) is None
    first = str(Path(str(file)).resolve().parent) if script else working_folder()
    if not sys.flags.safe_path and path[:1] in ([""], [first]):
        del path[0]
    return sorted(path, key=lambda entry: not is_standard(entry))


def is_standard(entry: str) -> bool:
    """Tell whether an entry of the import path is the standard library's."""
    return entry == _STANDARD_LIBRARY or Path(entry).name in _ITS_OTHERS


def working_folder() -> str:
    """Return the working folder of this process; empty if it has been deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 - a text is wanted
    except FileNotFoundError:
        return ""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a worker before it loads its app: its children start in the same state, whatever runs change."""

    folder: str
    path: tuple[str, ...]
    environment: Mapping[str, str]
    umask: int

    @classmethod
    def now(cls) -> Launch:
        """Return this process's; to be called before it has other threads, since reading the umask sets it."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(
            folder=working_folder(), path=tuple(import_path()), environment=dict(os.environ), umask=umask,
        )  # fmt: skip

    def start(self, program: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start `main()` of a module in a process of its own; raise OSError if that is not possible, as without the folder."""
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command(program, self.path, *arguments),
            cwd=self.folder or None, env=self.environment, umask=self.umask, **options,
        )  # fmt: skip
