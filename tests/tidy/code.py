"""The files that the rules are about."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/headway"
MODULES = sorted(PACKAGE.rglob("*.py"))
KEPT = {"src", "tests", "tools", "examples", "benchmarks", "docs", "locks", "ops", ".ci"}
"""Folders of the project; beside them are only the files at the root."""


def name(path):
    return path.relative_to(PACKAGE).as_posix()


def everything():
    """Return every file of the project, and none that a tool has left behind."""
    found = [
        path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith("demo.") and path.name != ".git"
    ]
    for folder in KEPT:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    left = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
    return [path for path in found if left.isdisjoint(path.parts) and ".db" not in path.name]


def offenders(pattern, allowed=()):
    """Return `module: line` wherever the pattern stands in code; `allowed` are modules, or folders with a slash."""
    found = []
    for path in MODULES:
        if any(name(path) == place or (place.endswith("/") and name(path).startswith(place)) for place in allowed):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name(path)}: {line.strip()}" for line in lines if pattern.search(line)]
    return found
