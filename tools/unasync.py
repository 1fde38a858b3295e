"""Write the blocking client and context from the async ones: `python tools/unasync.py`, or `--check` to compare only.

The two differ in words only: `async` and `await` go, the names that begin with Async lose that, and what stands between
`# async-only` and `# end of async-only` is left out. Comments and docstrings go through the same words.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent.parent / "src/headway"
CLIENT: Final = PACKAGE / "client"
CONTEXT: Final = PACKAGE / "worker/context"
ASYNC_ONLY: Final = re.compile(r"^ *# async-only\n.*?^ *# end of async-only\n\n?", re.MULTILINE | re.DOTALL)
WORDS: Final = [
    (re.compile(r"\basync (?=def|for|with)"), ""),
    (re.compile(r"\bawait (?=[\w(])"), ""),
    (re.compile(r"\bAsync(?=[A-Z])"), ""),
    (re.compile(r"\b__a(enter|exit|iter|next)__"), r"__\1__"),
    (re.compile(r"\bclient\.aio\b"), "client.sync"),
    (re.compile(r"\bclient\.async_transport\b"), "client.transport"),
    (re.compile(r"\bfrom asyncio import sleep\b"), "from time import sleep"),
    (re.compile(r", ASYNC109\b|  # noqa: ASYNC109\b( \([^)]*\))?"), ""),
    (re.compile(r"\bThe async client, written by hand;.*"), 'The blocking client, generated from the async one."""'),
]
CONTEXT_WORDS: Final = [
    (
        re.compile(r"\bThe async context, written by hand;.*"),
        'The context of plain functions, generated from the async one."""',
    ),
    (re.compile(r"\b(?=(Context|ChildRun)\b)"), "Sync"),
    (re.compile(r"\ban async function\b"), "a plain function"),
    *WORDS,
]

FIRST_PARTY: Final = ["--config", 'lint.isort.known-first-party = ["headway"]']


def to_sync(text: str, source: str, words: Sequence[tuple[re.Pattern[str], str]] = WORDS) -> str:
    """Return the blocking spelling of an async module."""
    text = ASYNC_ONLY.sub("", text)
    for pattern, replacement in words:
        text = pattern.sub(replacement, text)
    return _formatted(f"# Generated from {source} by tools/unasync.py: change that, not this.\n{text}")


def _formatted(text: str) -> str:
    """Lines have become shorter and names sort differently: lay the text out as ruff would."""
    for arguments in (
        ["check", "--select", "I,F401,UP028", *FIRST_PARTY, "--fix-only", "--unsafe-fixes", "--quiet"],
        ["format", "--quiet"],
    ):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(CLIENT / "sync/_.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def generated() -> dict[Path, str]:
    """Return the text of every generated file."""
    sources = sorted((CLIENT / "aio").glob("*.py"))
    wanted = {CLIENT / "sync" / path.name: to_sync(path.read_text(), f"client/aio/{path.name}") for path in sources}
    context = to_sync((CONTEXT / "context.py").read_text(), "worker/context/context.py", CONTEXT_WORDS)
    return {**wanted, CONTEXT / "sync_context.py": context}


def main() -> int:
    """Write the files, or name the outdated ones."""
    wanted = generated()
    present = {*(CLIENT / "sync").glob("*.py"), *CONTEXT.glob("sync_*.py")}
    stale = [path for path, text in wanted.items() if path not in present or path.read_text() != text]
    orphans = sorted(present - set(wanted))
    for path in [*stale, *orphans]:
        print(f"not current: {path.relative_to(PACKAGE.parent.parent)}")
    if "--check" in sys.argv[1:]:
        return 1 if stale or orphans else 0
    (CLIENT / "sync").mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
    for path in orphans:
        path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
