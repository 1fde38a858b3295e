"""Show circles of imports in each package, and feature names outside their folders: `python tools/shape.py [--list] [--json]`.

Circles: the files of a package that reach each other by imports within it, imports in functions and under TYPE_CHECKING
included. `from headway.web import problem` imports the module `problem`, not all that the package's `__init__` holds.

Features: the files of code and SQL outside of `features/NAME/` whose identifiers or strings have the feature's words. A
word is a part of a name between underscores or capitals, so the state `scheduled` is none of `schedules`. Docstrings and
comments do not count.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent / "src/headway"
FEATURES: Final = {
    "schedules": r"schedules?|scheduler",
    "tables": r"tables?",
    "record_tasks": r"record[-_ ]tasks?",
    "access": r"access(?!_log)",
}
"""The words of each feature, as they stand in lower case between underscores."""
CLIENTS: Final = frozenset({"cli", "client", "testing", "worker"})
"""Folders that speak to the HTTP API: its nouns are theirs too, so they are counted apart."""
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def modules(root: Path) -> dict[str, Path]:
    """Return the files of a package by their dotted names, the package's own included."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> dict[str, set[str]]:
    """Return which modules of the package each of its modules imports, anywhere in the file."""
    files = modules(root)
    return {name: set(_imported(name, path, files)) - {name} for name, path in files.items()}


def _imported(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    parts = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            inner = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if name in files)
            if module in files and not all(name in files for name in inner):
                yield module


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that reach each other, the largest first (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name] & graph.keys()):
            if other not in number:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == number[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return sorted(found, key=len, reverse=True)


def package_circles(root: Path) -> dict[str, list[list[str]]]:
    """Return the circles within each folder of the package; those through several folders stand under its own name."""
    graph = imports(root)
    found = {}
    for folder in sorted(path.name for path in root.iterdir() if (path / "__init__.py").exists()):
        inside = f"{root.name}.{folder}."
        found[folder] = circles({name: to for name, to in graph.items() if name.startswith(inside)})
    within = [ring for rings in found.values() for ring in rings]
    found[root.name] = [ring for ring in circles(graph) if ring not in within]
    return found


def _names(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        yield re.sub(r"--.*", "", text)
        return
    tree = ast.parse(text)
    expressions = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    docstrings = {id(value) for value in expressions if isinstance(value, ast.Constant)}
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "asname", "module", "arg", "value"):
            name = getattr(node, field, None)
            if isinstance(name, str) and id(node) not in docstrings:
                yield name


def outside(root: Path, feature: str, words: str) -> list[str]:
    """Return the files that have a feature's words, and are not in its folder."""
    pattern = re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])")
    own = root / "features" / feature
    paths = [path for path in sorted(root.rglob("*")) if path.suffix in {".py", ".sql"} and own not in path.parents]
    return [
        str(path.relative_to(root))
        for path in paths
        if any(pattern.search(_CAPITAL.sub("_", name).lower()) for name in _names(path))
    ]


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Show circles of imports, and feature names outside their folders.")
    parser.add_argument("--list", action="store_true", help="the files too")
    parser.add_argument("--json", action="store_true", help="all as JSON")
    said = parser.parse_args()
    rings = package_circles(ROOT)
    found = {feature: outside(ROOT, feature, words) for feature, words in FEATURES.items()}
    if said.json:
        print(json.dumps({"circles": rings, "features": found}))
        return 0
    print("circles of imports (files in each)")
    for folder, some in rings.items():
        print(f"  {folder:14} {', '.join(str(len(ring)) for ring in some) or 'none'}")
        if said.list:
            print(*(f"      {' '.join(ring)}" for ring in some), sep="\n")
    print("files outside of features/NAME/ with its words: server, clients")
    for feature, files in found.items():
        clients = [file for file in files if file.partition("/")[0] in CLIENTS]
        print(f"  {feature:14} {len(files) - len(clients):4} {len(clients):4}")
        if said.list:
            print(*(f"      {file}" for file in files), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
