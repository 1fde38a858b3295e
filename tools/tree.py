"""Print the package as a tree, each module with its first sentence; `--write` writes the tree of folders into ARCHITECTURE.md.

The sentences are the docstrings' own, so that the page cannot contradict the code.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "src/headway"
PAGE: Final = ROOT / "ARCHITECTURE.md"
BEGIN: Final = "<!-- tree: written by tools/tree.py -->"
END: Final = "<!-- end of tree -->"
COLUMN: Final = 28
GENERATED: Final = frozenset({"sync"})
"""Folders whose files are those of another one, in other words."""
OPENED: Final = frozenset({"features", "compat"})
"""Folders whose own folders the page shows: each is a part that plugs in."""
_SENTENCE: Final = re.compile(r"(?s)(.+?[.!?])(?=\s|$)")


def sentence(path: Path) -> str:
    """Return the first sentence of a file: of its docstring, or of the comment at its head."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    else:
        first = text.partition("\n")[0]
        said = first.removeprefix("--").strip() if first.startswith("--") else ""
    first_paragraph = " ".join(said.partition("\n\n")[0].split())
    match = _SENTENCE.match(first_paragraph)
    return match[1] if match else first_paragraph


def _listed(path: Path) -> bool:
    if path.is_dir():
        return path.name != "__pycache__" and any(_listed(inner) for inner in path.iterdir())
    return path.suffix in {".py", ".sql"} and path.name != "__init__.py"


def lines(folder: Path, depth: int = 0, *, files: bool = True) -> list[str]:
    """Return the lines of a folder: its files first, then its folders. Without `files`: its folders, and theirs if OPENED."""
    found = []
    entries = sorted(filter(_listed, folder.iterdir()), key=lambda path: (path.is_dir(), path.name))
    for path in entries:
        if path.is_file() and not files:
            continue
        if path.is_dir() and not files and not (path / "__init__.py").exists():
            continue
        name = "  " * depth + path.name + ("/" if path.is_dir() else "")
        init = path / "__init__.py"
        said = sentence(init if path.is_dir() else path) if path.is_file() or init.exists() else ""
        found.append(f"{name:<{COLUMN}} {said}".rstrip())
        if path.is_dir() and path.name not in GENERATED and (files or path.name in OPENED):
            found += lines(path, depth + 1, files=files)
    return found


def tree(*, files: bool = True) -> str:
    """Return the whole tree, or that of its folders."""
    head = f"{'headway/':<{COLUMN}} {sentence(PACKAGE / '__init__.py')}"
    return "\n".join([head, *lines(PACKAGE, 1, files=files)])


def written(page: str) -> str:
    """Return the page with the tree between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no markers for the tree")
    return f"{before}{BEGIN}\n```text\n{tree(files=False)}\n```\n{END}{after}"


def main() -> int:
    """Print the tree, or write that of the folders."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
