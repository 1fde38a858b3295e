"""Standard streams of a command: closed ones are /dev/null, unencodable characters are escaped, failed writes end it.

stderr has messages: one that cannot be written is dropped. stdout has the answer: when it cannot be written
`Unwritten` is raised, once, and the rest is dropped.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from headway.streams import STDERR, STDIN, STDOUT, open_closed

if TYPE_CHECKING:
    from typing_extensions import Buffer

ESCAPE: Final = "headway.escape"
ASCII: Final = "headway-ascii"
"""Alias of ASCII: click distrusts a stream of that encoding, and writes UTF-8 to it."""


class Unwritten(Exception):
    """The answer could not be written to stdout. This is no OSError, since click ends the process at those with 1."""

    def __init__(self, cause: OSError) -> None:
        """`reader_left` is whether the other end of a pipe was closed, as `| head` does; else the disk is full, for example."""
        super().__init__(cause.strerror or str(cause))
        self.reader_left = cause.errno == errno.EPIPE


@contextmanager
def streams() -> Iterator[None]:
    """Replace the standard streams of `sys` while a command runs."""
    before = sys.stdin, sys.stdout, sys.stderr
    open_closed()
    if before[0] is None:
        sys.stdin = os.fdopen(STDIN, encoding="utf-8", closefd=False)
    if _is_standard(before[1], STDOUT):
        sys.stdout = _writer(before[1], _Output(STDOUT))
    if _is_standard(before[2], STDERR):
        sys.stderr = _writer(before[2], _Lenient(STDERR))
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def encodable(text: str, stream: IO[str]) -> str:
    r"""Return a text as a stream will show it: with `\u65e5` for characters outside its encoding."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, ESCAPE).decode(encoding)


def _is_standard(stream: IO[str] | None, number: int) -> bool:
    """Return whether a stream is the process's own, and not a replacement by a test or a caller."""
    try:
        return stream is None or stream.fileno() == number
    except (OSError, ValueError):
        return False


def _writer(before: IO[str] | None, raw: _Output) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name == "ascii":
        encoding = ASCII
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding=encoding, errors=ESCAPE, newline="\n", line_buffering=raw.lines)


class _Output(io.RawIOBase):
    """Descriptor whose first failed write is raised, and all later ones are dropped."""

    def __init__(self, number: int) -> None:
        self._number, self._failed = number, False
        self.lines = os.isatty(number) or number == STDERR

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        while not self._failed:
            try:
                return os.write(self._number, view)
            except BlockingIOError:  # a terminal or pipe that another process has made non-blocking
                select.select([], [self._number], [])
            except OSError as error:
                self._failed = True
                self.fail(error)
        return len(view)

    def fail(self, error: OSError) -> None:
        raise Unwritten(error) from None


class _Lenient(_Output):
    """Descriptor whose failed writes are dropped."""

    def fail(self, error: OSError) -> None:
        del error


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write characters as `\u65e5`, in pairs beyond the first 65,536: JSON stays JSON, with the same meaning."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return escaped, error.end


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ASCII:
        return None
    plain = codecs.lookup("ascii")
    return codecs.CodecInfo(
        plain.encode, plain.decode, plain.streamreader, plain.streamwriter, plain.incrementalencoder,
        plain.incrementaldecoder, name=ASCII,
    )  # fmt: skip


codecs.register_error(ESCAPE, _escape)
codecs.register(_find_codec)
