"""Which files an app consists of, and which of them have changed."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from headway import errors
from headway.worker.declaration.sources import Sources, is_library


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A folder with a module that is loaded."""
    (tmp_path / "sourced.py").write_text("import headway\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import sourced

    yield tmp_path
    del sys.modules[sourced.__name__]


def sources(since_ms=None):
    return Sources("sourced:app", time.time_ns() // 1_000_000 if since_ms is None else since_ms)


def names(found):
    return [Path(path).name for path in found]


def test_what_is_changed_new_or_gone_is_named_once(app):
    watched = sources()
    assert watched.changed() == []
    (app / "sourced.py").write_text("import headway  # changed\n")
    (app / "beside.py").touch()
    assert names(watched.changed()) == ["beside.py", "sourced.py"]
    (app / "beside.py").unlink()
    assert names(watched.changed()) == ["beside.py"]
    assert watched.changed() == []


def test_what_was_changed_while_it_was_loaded_has_changed(app):
    assert "sourced.py" in names(sources(since_ms=0).changed())
    later = time.time_ns() + 3_600 * 10**9
    os.utime(app / "sourced.py", ns=(later, later))
    assert "sourced.py" not in names(sources(since_ms=0).changed()), (
        "of a clock that is ahead nothing is concluded: it would start for ever"
    )


def test_other_files_than_pythons_and_installed_packages_are_not_looked_at(app):
    watched = sources()
    (app / "notes.txt").touch()
    assert watched.changed() == []
    assert not [path for path in watched._files if Path(path) in {Path(os.__file__), Path(pytest.__file__)}]
    assert is_library(os.__file__)
    assert is_library(pytest.__file__)


def test_a_wait_ends_without_a_change_when_it_is_to_stop(app):
    stopping = threading.Event()
    stopping.set()
    assert sources().wait(stopping) == []


def test_no_module_of_headway_counts_as_the_apps():
    assert is_library(str(errors.__file__))
