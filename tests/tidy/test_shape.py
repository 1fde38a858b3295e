"""Counting rules of `tools/calls.py` and `tools/shape.py`."""

import importlib.util

import pytest
from tools.calls import Call, Count, Tracer, count, traced
from tools.shape import circles, outside, package_circles


@pytest.fixture
def package(tmp_path):
    """Return a function that writes files, by their paths, into a package `p`, and returns its folder."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "p" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        return tmp_path / "p"

    return write


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_generator_counts_once_and_leaves_do_not_count(package):
    folder = package({
        "a.py": "def one(clock):\n    clock()\n    return sum(more())\ndef more():\n    yield 1\n    yield 2\n",
        "clock.py": "def now():\n    return 1\n",
    })  # fmt: skip
    one, now = loaded(folder / "a.py").one, loaded(folder / "clock.py").now
    with Tracer(f"{folder}/") as tracer:
        one(now)
    assert tracer.calls == [Call(1, "a.py", "one"), Call(2, "a.py", "more")]


def test_a_switch_is_a_call_in_another_file_than_the_one_before():
    calls = [Call(depth, file, "f") for depth, file in ((1, "a"), (2, "b"), (2, "b"), (3, "a"))]
    assert count(calls) == Count(calls=4, files=2, switches=2, depth=3)


def test_a_start_a_claim_a_report_and_a_read_are_traced_from_the_app_to_the_database():
    found = traced()
    assert list(found) == ["start", "claim", "report", "read"]
    for calls in found.values():
        assert calls[0].depth == 1
        assert any(call.file.startswith("store/sqlite/") for call in calls)


def test_circles_are_modules_that_reach_each_other():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]


def test_imports_in_functions_and_for_types_make_circles(package):
    folder = package({
        "x/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.x.b import B\n",
        "x/b.py": "def f():\n    from p.x import a\n",
        "y/a.py": "import p.z.a\n",
        "z/a.py": "from p.y.a import A\n",
        "w/low.py": "from .high import High\n",
        "w/high.py": "def load():\n    from . import low\n",
    })  # fmt: skip
    assert package_circles(folder) == {
        "p": [["p.y.a", "p.z.a"]], "w": [["p.w.high", "p.w.low"]], "x": [["p.x.a", "p.x.b"]], "y": [], "z": [],
    }  # fmt: skip


def test_a_feature_is_named_outside_its_folder_by_words_of_code_and_sql(package):
    folder = package({
        "features/schedules/rules.py": "schedule = 1\n",
        "attribute.py": "x.schedule_id\n",
        "class.py": "class MakeSchedule: ...\n",
        "text.py": "run('save_schedules')\n",
        "query.sql": "SELECT * FROM schedules\n",
        "comment.sql": "-- of schedules\nSELECT 1\n",
        "docstring.py": '"""Make a schedule."""\n# schedule\n',
        "other.py": "State.SCHEDULED\n",
    })  # fmt: skip
    assert outside(folder, "schedules", "schedules?") == ["attribute.py", "class.py", "query.sql", "text.py"]
