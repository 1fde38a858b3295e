"""No circles of imports within a package, counting imports for type checkers and imports within functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"


def modules(package: str, source: Path = SOURCE) -> dict[str, Path]:
    """Return the files of a package and its subpackages by their dotted names."""
    found = {}
    for path in sorted((source / package.replace(".", "/")).rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, at any level and under any condition."""
    parts = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*parts[: len(parts) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            for each in node.names:
                yield ".".join([*base, each.name])


def graph(package: str, source: Path = SOURCE) -> dict[str, set[str]]:
    """Return the imports between the modules of a package: module to imported modules."""
    inside = modules(package, source)
    found: dict[str, set[str]] = {}
    for name, path in inside.items():
        named = set()
        for target in imports(name, path):
            module = target if target in inside else target.rpartition(".")[0]  # a name of a module
            if module in inside and module != name:
                named.add(module)
        found[name] = named
    return found


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of a graph; empty if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", ["headway.web", "headway.compat"])
def test_the_modules_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    assert [] == circle(graph(package))


def test_a_circle_of_type_checking_and_function_level_imports_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "low.py").write_text("if TYPE_CHECKING:\n    from sample.high import High\n")
    (folder / "middle.py").write_text("def load():\n    from . import low\n")
    (folder / "high.py").write_text("from sample.middle import load\n")

    assert {"sample.low", "sample.middle", "sample.high"} == {*circle(graph("sample", tmp_path))}
