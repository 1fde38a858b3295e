"""Zip a folder file by file, with live progress, so that neither a crash nor a stop leaves half an archive behind.

headway serve examples.backup:app
headway run backup folder=/srv/data target=/tmp/data.zip
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import TypedDict

import headway

app = headway.App()

CHUNK_BYTES = 1 << 20


class Backup(TypedDict):
    """Result of a backup."""

    archive: str
    files: int
    bytes: int
    compressed: int
    sha256: str


@app.task(timeout="12h", retry=headway.Retry(max_attempts=5, do_not_retry=(NotADirectoryError,)))
def backup(ctx: headway.SyncContext, folder: str, target: str | None = None) -> Backup:
    """Zip `folder` into `target` (by default FOLDER.zip beside it) and say what is in the archive.

    The archive is written under another name and renamed when it is whole and on disk: whatever happens, `target` is
    either what it was before or complete. A second attempt starts over and ends with the same bytes.
    """
    source = Path(folder).resolve()
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is not a folder")
    archive = Path(target).resolve() if target else source.with_suffix(".zip")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = f".{archive.name}.{ctx.run_id}"
    for left_over in archive.parent.glob(f"{unfinished}-*"):
        left_over.unlink(missing_ok=True)  # by an attempt that was killed
    part = archive.parent / f"{unfinished}-{ctx.fencing_token}"

    files = [path for path in files_in(source) if path != archive and not path.name.startswith(unfinished)]
    ctx.log(f"{len(files)} files in {source}")
    try:
        size = write(ctx, part, source, files)
        digest = finish(part, archive)
    except BaseException:  # a failure, or a stop: headway.Cancelled
        part.unlink(missing_ok=True)
        raise
    return Backup(archive=str(archive), files=len(files), bytes=size, compressed=archive.stat().st_size, sha256=digest)


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder and its folders, always in the same order; links are not followed."""
    return sorted(
        Path(at, name)
        for at, _, names in os.walk(folder)
        for name in names
        if Path(at, name).is_file() and not Path(at, name).is_symlink()
    )


def write(ctx: headway.SyncContext, part: Path, source: Path, files: list[Path]) -> int:
    """Write the archive; return how many bytes went in. Each `progress` is also where a stop takes effect."""
    size = 0
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        for done, path in enumerate(files):
            name = str(path.relative_to(source))
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as reader, bundle.open(entry, "w") as writer:
                while chunk := reader.read(CHUNK_BYTES):
                    ctx.progress(done, len(files), name)
                    writer.write(chunk)
                    size += len(chunk)
        ctx.progress(len(files), len(files), "")
    return size


def finish(part: Path, archive: Path) -> str:
    """Put the archive in its place for good, and return its SHA-256."""
    with part.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
        os.fsync(reader.fileno())
    part.replace(archive)
    folder = os.open(archive.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, is only safe once it is on disk
    finally:
        os.close(folder)
    return digest
