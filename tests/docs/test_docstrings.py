"""The examples in docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import headway

PACKAGE = Path(headway.__file__).parent
SHOWN = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
NAMES = [".".join(("headway", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in SHOWN]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_module_work(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
