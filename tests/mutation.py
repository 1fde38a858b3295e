"""Seeded bugs: changes of the product's source by its syntax trees, each with the test that has to find it.

A `Change` has a place, a pattern and a replacement:

- The place is the end of a dotted name: `Sessions.lapse`, `reporting._fits`, `config`. A moved module changes nothing.
- The pattern is an expression or consecutive statements in source form, compared with the syntax tree within the place. Format and
  comments do not count. `A` to `Z` stand for any expression, and `...` for the rest of a list: arguments or a body.
- An identifier that the code no longer has was renamed: a variable's stands for any in its place, a member's or an argument's
  for any once the package does not have it. The replacement takes the new names, and the captured expressions.
- Each pattern has to match exactly once.

The place `sql:NAME` is the statement of that name; pattern and replacement are then parts of its text, whatever the white space.
"""

from __future__ import annotations

import ast
import builtins
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "tools", "examples", "pyproject.toml")
SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
UNCOUNTED = {"ctx", "type_comment", "kind", "type_ignores"}
VARIABLES = ast.Name | ast.arg | ast.ExceptHandler | ast.MatchAs | ast.MatchStar


class Change(msgspec.Struct, frozen=True):
    """A replacement of what a pattern matches at a place."""

    place: str
    pattern: str
    replacement: str


class Mutant(msgspec.Struct, frozen=True):
    """A bug, and the test that finds it."""

    name: str
    place: str
    pattern: str
    replacement: str
    test: str
    """A pytest node id."""
    also: tuple[str, str, str] | None = None
    """A second change: place, pattern, replacement."""
    long: bool = False
    """Whether the test is marked `long`."""

    @property
    def changes(self) -> list[Change]:
        """The changes that make the bug."""
        second = [] if self.also is None else [Change(*self.also)]
        return [Change(self.place, self.pattern, self.replacement), *second]


class PlaceGone(Exception):
    """A pattern matches nowhere, or more than once."""


class Source:
    """The product's source, to be changed and written elsewhere."""

    def __init__(self, folder: Path = ROOT / "src/headway") -> None:
        self.folder = folder
        self.trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
        self.sql = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.sql"))}

    @cached_property
    def scopes(self) -> list[tuple[tuple[str, ...], Path, ast.Module | SCOPES]]:
        """Modules, classes and functions by their dotted names."""
        found: list[tuple[tuple[str, ...], Path, ast.Module | SCOPES]] = []

        def walk(node: ast.AST, names: tuple[str, ...], path: Path) -> None:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, SCOPES):
                    found.append(((*names, child.name), path, child))
                    walk(child, (*names, child.name), path)
                else:
                    walk(child, names, path)

        for path, tree in self.trees.items():
            names = path.relative_to(self.folder).with_suffix("").parts
            names = names[:-1] if names[-1:] == ("__init__",) else names
            found.append((names, path, tree))
            walk(tree, names, path)
        return found

    @cached_property
    def parts(self) -> set[str]:
        """The parts of all dotted names."""
        return {name for names, _, _ in self.scopes for name in names}

    @cached_property
    def members(self) -> set[str]:
        """Identifiers of the package that are no variables."""
        return {
            name
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if not isinstance(node, VARIABLES)
            for name in _identifiers(node)
        }

    def changed(self, changes: list[Change]) -> dict[Path, str]:
        """Return the text of each file that the changes change.

        Raises PlaceGone for a pattern that does not match exactly once, SyntaxError for a result that is no Python.
        """
        texts: dict[Path, str] = {}
        spots: list[tuple[Path, Spot]] = []
        try:
            for change in changes:
                if change.place.startswith("sql:"):
                    path, start, end = self._statement(change)
                    texts[path] = self.sql[path][:start] + change.replacement + self.sql[path][end:]
                else:
                    path, spot = self._spot(change)
                    spots.append((path, spot))
                    spot.replace(change.replacement)
            for path in dict.fromkeys(path for path, _ in spots):
                texts[path] = ast.unparse(self.trees[path])
                compile(texts[path], str(path), "exec")
        finally:
            for _, spot in reversed(spots):
                spot.restore()
        return texts

    def _statement(self, change: Change) -> tuple[Path, int, int]:
        name = change.place.removeprefix("sql:")
        words = r"\s+".join(re.escape(word) for word in change.pattern.split())
        found = [
            (path, at.start(), at.end())
            for path, text in self.sql.items()
            for statement in re.finditer(r"(?m)^-- name: (\S+)[^\n]*\n(?s:.*?)(?=^-- name: |\Z)", text)
            if statement[1] == name
            for at in re.compile(words).finditer(text, statement.start(), statement.end())
        ]
        if len(found) != 1:
            raise PlaceGone(f"{change.pattern!r} is {len(found)} times in {change.place}")
        return found[0]

    def _spot(self, change: Change) -> tuple[Path, Spot]:
        wanted = change.place.split(".")
        within = [
            (path, node)
            for names, path, node in self.scopes
            if len(names) >= len(wanted)
            and all(a in (b, None) for a, b in zip(self._known(wanted), names[-len(wanted) :], strict=True))
        ]
        spots = {spot.key: (path, spot) for path, node in within for spot in self._spots(change, path, node)}
        if len(spots) == 1:
            return next(iter(spots.values()))
        raise PlaceGone(f"{change.pattern!r} is {len(spots)} times in {change.place}")

    def _known(self, wanted: list[str]) -> list[str | None]:
        return [name if name in self.parts else None for name in wanted]

    def _spots(self, change: Change, path: Path, scope: ast.AST) -> list[Spot]:
        pattern = ast.parse(change.pattern).body
        expression = _expression(pattern)
        as_expression = expression is not None and _expression(ast.parse(change.replacement).body) is not None
        variables = {name for node in ast.walk(scope) if isinstance(node, VARIABLES) for name in _identifiers(node)}
        variables |= _bound(self.trees[path]) | set(dir(builtins))
        spots: list[Spot] = []
        for node in ast.walk(scope):
            for field, value in ast.iter_fields(node):
                for at, part in enumerate(value if isinstance(value, list) else [value]):
                    match = Match(variables, self.members)
                    if as_expression and isinstance(part, ast.expr) and match.fits(expression, part):
                        spots.append(Spot(node, field, at, 1, match))
                    elif (
                        not as_expression
                        and isinstance(part, ast.stmt)
                        and len(value) >= at + len(pattern)
                        and all(map(match.fits, pattern, value[at : at + len(pattern)]))
                    ):
                        spots.append(Spot(node, field, at, len(pattern), match))
        return spots


class Match:
    """A comparison of a pattern with code: names by what stands for them, expressions by letter, and rests of lists."""

    def __init__(self, variables: set[str], members: set[str]) -> None:
        self.variables, self.members = variables, members
        self.names: dict[tuple[bool, str], str] = {}
        self.expressions: dict[str, ast.expr] = {}
        self.rests: list[tuple[list[ast.AST], list[ast.keyword]]] = []

    def fits(self, pattern: object, code: object) -> bool:
        """Compare two parts of syntax trees, and take down what stands for what."""
        if isinstance(pattern, ast.Name) and _is_hole(pattern.id):
            known = self.expressions.setdefault(pattern.id, code) if isinstance(code, ast.expr) else None
            return known is not None and ast.dump(known) == ast.dump(code)
        if isinstance(pattern, list):
            return isinstance(code, list) and self._lists(pattern, code)
        if not isinstance(pattern, ast.AST):
            return type(pattern) is type(code) and pattern == code
        if type(pattern) is not type(code):
            return False
        if isinstance(pattern, ast.Call) and pattern.args and _is_rest(pattern.args[-1]):
            given = {keyword.arg for keyword in pattern.keywords}
            named = [keyword for keyword in code.keywords if keyword.arg in given]
            fixed = len(pattern.args) - 1
            if not self.fits(pattern.func, code.func) or not self._lists(pattern.args[:fixed], code.args[:fixed]):
                return False
            self.rests.append((code.args[fixed:], [keyword for keyword in code.keywords if keyword not in named]))
            return self._lists(pattern.keywords, named)
        return all(self._field(pattern, code, field) for field in pattern._fields if field not in UNCOUNTED)

    def _field(self, pattern: ast.AST, code: ast.AST, field: str) -> bool:
        ours, theirs = getattr(pattern, field, None), getattr(code, field, None)
        if isinstance(ours, str) and not isinstance(pattern, ast.Constant):
            return self._identifier(isinstance(pattern, VARIABLES), ours, theirs)
        return self.fits(ours, theirs)

    def _identifier(self, variable: bool, ours: str, theirs: object) -> bool:
        known = self.names.get((variable, ours))
        if known is not None or not isinstance(theirs, str):
            return known == theirs
        renamed = ours not in (self.variables if variable else self.members)
        if ours != theirs and (not renamed or (variable, theirs) in self.names):
            return False
        self.names[variable, ours] = theirs
        return True

    def _lists(self, pattern: list[ast.AST], code: list[ast.AST]) -> bool:
        rest = next((at for at, part in enumerate(pattern) if _is_rest(part)), None)
        if rest is None:
            return len(pattern) == len(code) and all(map(self.fits, pattern, code))
        after = len(pattern) - rest - 1
        if len(code) < rest + after or not all(map(self.fits, pattern[:rest], code[:rest])):
            return False
        self.rests.append((code[rest : len(code) - after], []))
        return all(map(self.fits, pattern[rest + 1 :], code[len(code) - after :]))


class Spot:
    """A place in a syntax tree that a pattern matched."""

    def __init__(self, node: ast.AST, field: str, at: int, size: int, match: Match) -> None:
        self.node, self.field, self.at, self.size, self.match = node, field, at, size, match
        self.before = getattr(node, field)

    @property
    def key(self) -> tuple[int, str, int]:
        """The place as one value."""
        return id(self.node), self.field, self.at

    def replace(self, replacement: str) -> None:
        """Put a replacement into the tree."""
        new = [_Filling(self.match).visit(statement) for statement in ast.parse(replacement).body]
        if not isinstance(self.before, list):
            setattr(self.node, self.field, _expression(new))
        elif isinstance(self.before[self.at], ast.expr):
            setattr(self.node, self.field, [*self.before[: self.at], _expression(new), *self.before[self.at + 1 :]])
        else:
            setattr(self.node, self.field, [*self.before[: self.at], *new, *self.before[self.at + self.size :]])

    def restore(self) -> None:
        """Undo `replace`."""
        setattr(self.node, self.field, self.before)


class _Filling(ast.NodeTransformer):
    """Puts what a pattern captured into a replacement."""

    def __init__(self, match: Match) -> None:
        self.names, self.expressions, self.rests = match.names, match.expressions, list(match.rests)

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Name) and node.id in self.expressions:
            return self.expressions[node.id]
        if isinstance(node, ast.Call) and node.args and _is_rest(node.args[-1]):
            arguments, keywords = self.rests.pop(0)
            node.args[-1:] = arguments
            node.keywords += keywords
        for field, value in ast.iter_fields(node):
            if isinstance(value, str) and not isinstance(node, ast.Constant):
                setattr(node, field, self.names.get((isinstance(node, VARIABLES), value), value))
            elif isinstance(value, list) and value and isinstance(value[0], ast.AST):
                rest = next((at for at, part in enumerate(value) if _is_rest(part)), None)
                if rest is not None and self.rests:
                    value[rest : rest + 1] = self.rests.pop(0)[0]
        return self.generic_visit(node)


def _identifiers(node: ast.AST) -> list[str]:
    values = [] if isinstance(node, ast.Constant) else [value for _, value in ast.iter_fields(node)]
    return [value for value in values if isinstance(value, str)]


def _bound(tree: ast.Module) -> set[str]:
    names = {name for node in tree.body for part in [node, *ast.iter_child_nodes(node)] for name in _identifiers(part)}
    return names | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _is_hole(name: str) -> bool:
    return len(name) == 1 and name.isupper()


def _is_rest(part: object) -> bool:
    value = part.value if isinstance(part, ast.Expr) else part
    return isinstance(value, ast.Constant) and value.value is ...


def _expression(statements: list[ast.stmt]) -> ast.expr | None:
    return statements[0].value if len(statements) == 1 and isinstance(statements[0], ast.Expr) else None


def tried(mutant: Mutant, source: Source, *options: str) -> tuple[str, float]:
    """Return what became of the test with the bug in place, and how many seconds that took."""
    texts = source.changed(mutant.changes)
    with tempfile.TemporaryDirectory(prefix="headway-mutant-") as folder:
        copied = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copied / name)
        for path, text in texts.items():
            (copied / path.relative_to(ROOT)).write_text(text, "utf-8")
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--basetemp={copied / 'tmp'}",
             *(("-m", "long") if mutant.long else ()), *options, mutant.test],
            cwd=copied, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took = time.monotonic() - began
    if done.returncode == 1:
        said = next((line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E  ")), "it timed out")
        return f"found: {said[:100].replace('|', '/')}", took
    if done.returncode:
        return f"pytest ended with {done.returncode}", took
    return "NOT FOUND" if " passed" in done.stdout else "not tried: the test was skipped", took


def main(mutants: tuple[Mutant, ...], *options: str) -> int:
    """Try the mutants, or those that the command line names, and print a table; return 1 if a test missed its bug.

    `options` are pytest's.
    """
    wanted = set(sys.argv[1:])
    source = Source()
    missed = 0
    print("| mutant | place | test | outcome | s |\n|---|---|---|---|---|")
    for mutant in mutants:
        if not wanted or mutant.name in wanted:
            outcome, took = tried(mutant, source, *options)
            missed += not outcome.startswith("found")
            print(f"| {mutant.name} | {mutant.place} | {mutant.test} | {outcome} | {took:.0f} |", flush=True)
    return int(missed > 0)
