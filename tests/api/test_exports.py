"""What `import headway` promises: these names and no others, each loaded when it is first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import headway
import headway.testing

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_MAX = 21


def test_the_names_are_sorted_and_each_has_a_home():
    assert headway.__all__ == sorted(headway.__all__)
    assert headway.__all__ == list(headway._HOMES)


def test_there_are_few():
    assert len(headway.__all__) <= PUBLIC_MAX


def test_each_can_be_imported_from_where_it_is_said_to_live():
    for name, home in headway._HOMES.items():
        assert getattr(headway, name) is getattr(importlib.import_module(home), name)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(headway.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == headway._HOMES


def test_each_says_what_it_is():
    assert [name for name in headway.__all__ if not getattr(headway, name).__doc__] == []
    assert [name for name in headway.testing.__all__ if not getattr(headway.testing, name).__doc__] == []


def test_what_is_not_public_is_not_there():
    assert not hasattr(headway, "Server")
    assert set(headway.__all__) <= set(dir(headway))


def test_importing_headway_loads_nothing_heavy():
    program = "import sys, headway; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "apsw", "click", "jsonschema_rs", "msgspec", "rich", "starlette", "uvicorn", "asyncio"}
    assert heavy.isdisjoint(done.stdout.split())


def test_the_version_is_the_packages():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{headway.__version__}"' in text


def test_the_package_is_typed():
    assert (Path(headway.__file__).parent / "py.typed").exists()
