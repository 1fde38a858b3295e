"""Reader of SQLite's write-ahead log (https://sqlite.org/walformat.html), which finds commits that SQLite would drop.

SQLite reads a log up to the last commit before the first frame whose checksum fails, and drops the rest without an error.
That is right for a commit torn by a power cut, which was not acknowledged, but it hides damage. Two things tell them apart:
a note of the last commit, kept outside the log; and the commits after the failing frame, of which a power cut leaves one at
most.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 24
INDEX_BYTES: Final = 48
_MAGIC: Final = 0x377F0682
"""Magic number of the log; with the lowest bit set, checksums are taken over big-endian words."""
_HEADER: Final = struct.Struct(">IIII8sII")
_FRAME: Final = struct.Struct(">II8sII")
_INDEX: Final = struct.Struct("=IIIBBHIIII8sII")
_NOTE: Final = struct.Struct(">8s8sIIIIII")
_NOTE_MAGIC: Final = b"headway1"
NOTE_BYTES: Final = _NOTE.size
GENERATIONS_MAX: Final = 1 << 20
"""Restarts of a log since a note of it was written, up to which it counts as the same log."""

Checksum = tuple[int, int]


class Index(NamedTuple):
    """Bounds of the readable log, from SQLite's shared memory."""

    frames: int
    page_bytes: int
    checksum: Checksum
    salt: bytes


class LastCommit(NamedTuple):
    """The last commit that may have been acknowledged: its last frame, and that frame's page."""

    salt: bytes
    frames: int
    checksum: Checksum
    page: int
    crc: int
    """CRC-32 of the page, by which it is recognised in the file after a checkpoint."""

    def packed(self) -> bytes:
        """Return the note as the bytes that are stored."""
        body = _NOTE.pack(_NOTE_MAGIC, self.salt, self.frames, *self.checksum, self.page, self.crc, 0)[:-4]
        return body + zlib.crc32(body).to_bytes(4, "big")


def read_note(raw: bytes) -> LastCommit | None:
    """Return the note, or None if there is none or it was not written whole."""
    if len(raw) < NOTE_BYTES or raw[:8] != _NOTE_MAGIC:
        return None
    _, salt, frames, first, second, page, crc, own = _NOTE.unpack(raw[:NOTE_BYTES])
    return LastCommit(salt, frames, (first, second), page, crc) if own == zlib.crc32(raw[: NOTE_BYTES - 4]) else None


def read_index(raw: bytes) -> Index | None:
    """Return the header of the shared memory, or None if it was not initialised."""
    if len(raw) < INDEX_BYTES:
        return None
    _, _, _, ready, _, page_bytes, frames, _, first, second, salt, _, _ = _INDEX.unpack(raw[:INDEX_BYTES])
    return Index(frames, page_bytes if page_bytes > 1 else 65_536, (first, second), salt) if ready else None


class Frame(NamedTuple):
    """One page as a transaction left it."""

    page: int
    commits: bool
    """Whether the frame is the last of its transaction."""
    salt: bytes
    checksum: Checksum
    """Running checksum of the log up to and including this frame."""


def read_frame(raw: bytes) -> Frame:
    """Return the fields of a frame's head."""
    page, size, salt, first, second = _FRAME.unpack(raw[:FRAME_BYTES])
    return Frame(page, size > 0, salt, (first, second))


class Log:
    """A log, read frame by frame; frames are numbered from 1."""

    def __init__(self, path: Path, page_bytes: int) -> None:
        """Open the log; `page_bytes` is the page size of its database."""
        self._file = path.open("rb", buffering=0)
        self._page_bytes = page_bytes
        raw = self._file.read(HEADER_BYTES)
        self.salt: bytes | None = None
        """The salt, which changes each time the log restarts; None if the header is missing or damaged."""
        self._big = False
        if len(raw) == HEADER_BYTES:
            magic, _, size, _, salt, first, second = _HEADER.unpack(raw)
            self._big = bool(magic & 1)
            if (
                magic & ~1 == _MAGIC
                and size == page_bytes
                and checksum((0, 0), raw[:24], big=self._big) == (first, second)
            ):
                self.salt = salt
        size = path.stat().st_size - HEADER_BYTES
        self.count = max(0, size // (FRAME_BYTES + page_bytes))
        """Whole frames in the file, of whatever generation."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def frame(self, number: int) -> Frame:
        """Return the head of a frame."""
        return read_frame(self._read(number, FRAME_BYTES))

    def follows(self, number: int) -> bool:
        """Tell whether a frame's checksum continues that of the frame before it."""
        raw = self._read(number, FRAME_BYTES + self._page_bytes)
        before = self.frame(number - 1).checksum
        sum_ = checksum(checksum(before, raw[:8], big=self._big), raw[FRAME_BYTES:], big=self._big)
        return sum_ == self.frame(number).checksum

    def commits_after(self, number: int, enough: int = 2) -> int:
        """Return how many whole commits with this salt follow a frame, not counting the one right after it."""
        salt = self.salt if self.salt is not None or not self.count else self.frame(1).salt
        found = 0
        for each in range(number + 2, self.count + 1):
            frame = self.frame(each)
            found += frame.salt == salt and frame.commits and self.follows(each)
            if found >= enough:
                break
        return found

    def _read(self, number: int, size: int) -> bytes:
        self._file.seek(HEADER_BYTES + (number - 1) * (FRAME_BYTES + self._page_bytes))
        return self._file.read(size).ljust(size, b"\0")  # a server may be cutting it


def checksum(before: Checksum, data: bytes, *, big: bool) -> Checksum:
    """Return SQLite's running checksum, continued over some bytes, a multiple of eight."""
    first, second = before
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second


def continues(salt: bytes, note: LastCommit) -> bool:
    """Tell whether a log was restarted since the note: SQLite checkpoints first, then increments half of the salt."""
    begun = (int.from_bytes(salt[:4], "big") - int.from_bytes(note.salt[:4], "big")) % 2**32
    return 0 < begun < GENERATIONS_MAX
