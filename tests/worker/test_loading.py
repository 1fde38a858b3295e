"""An app is named in words people use, and a wrong name is answered with one sentence."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.worker.rough import app

from headway.worker.declaration.loading import AppNotLoaded, as_module, load_app
from headway.worker.processes.launch import command, import_path


@pytest.mark.parametrize("spec", ["tests.worker.rough:app", "tests/worker/rough.py:app", "tests.worker.rough"])
def test_an_app_is_found_by_module_or_by_file(spec):
    assert load_app(spec) is app


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_module:app", "no module 'no_such_module'"), ("tests.worker.nothing:app", "no module"),
        ("tests.worker.rough:apple", "no attribute 'apple'"), ("tests.worker.rough:time", "not a headway.App"),
        ("no/such/file.py:app", "no file"), (":app", "Name the app"), ("tests.worker.rough:add", "not a headway.App"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_answered_with_one_sentence(spec, said):
    with pytest.raises(AppNotLoaded, match=said) as caught:
        load_app(spec)
    assert "\n" not in str(caught.value)


def test_what_a_module_raises_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_app.py").write_text("import not_installed_anywhere")
    (tmp_path / "raising_app.py").write_text("raise RuntimeError('no database')")
    (tmp_path / "leaving_app.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    for name, said in [
        ("broken", "needs 'not_installed_anywhere'"),
        ("raising", "no database"),
        ("leaving", "SystemExit"),
    ]:
        with pytest.raises(AppNotLoaded, match=said):
            load_app(f"{name}_app:app")


ROOT = Path.cwd()
APP = """
import headway
{sibling}
app = headway.App()

@app.task
def where() -> str:
    return f"{{__file__}} {{beside}}"
"""


def main():
    """Load the app that the first line of standard input names, and print what its task returns: a program for `loaded`."""
    found = load_app(input())
    print(json.dumps([found.tasks["where"].function(), sorted(found.tasks)]))


def loaded(folder, spec):
    """Load an app in a process of its own that works in `folder`; return what its task says."""
    path = [*import_path(), str(ROOT)]
    done = subprocess.run(
        command("tests.worker.test_loading", path),
        cwd=folder,
        input=f"{spec}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


PLAIN = "from helper import beside"
RELATIVE = "from .helper import beside"


@pytest.mark.parametrize(
    ("spec", "file", "sibling"),
    [
        ("tasks:app", "tasks.py", PLAIN), ("tasks.py", "tasks.py", PLAIN), ("./tasks.py:app", "tasks.py", PLAIN),
        ("src/tasks.py:app", "src/tasks.py", PLAIN), ("/src/tasks.py:app", "src/tasks.py", PLAIN),
        ("jobs/tasks.py", "jobs/tasks.py", RELATIVE), ("jobs.tasks", "jobs/tasks.py", RELATIVE),
        ("test/tasks.py:app", "test/tasks.py", PLAIN), ("test.tasks:app", "test/tasks.py", PLAIN),
        ("code/tasks.py", "code/tasks.py", PLAIN), ("headway/tasks.py", "headway/tasks.py", PLAIN),
        ("queue.py:app", "queue.py", PLAIN), ("queue:app", "queue.py", PLAIN), ("profile:app", "profile.py", PLAIN),
        ("my-tasks.py", "my-tasks.py", PLAIN), ("my-jobs/tasks.py", "my-jobs/tasks.py", PLAIN),
    ],
)  # fmt: skip
def test_what_is_named_is_loaded_whatever_python_has_of_that_name_and_finds_what_lies_beside_it(
    tmp_path, spec, file, sibling
):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(APP.format(sibling=sibling))
    (path.parent / "helper.py").write_text("beside = 'helped'")
    named = f"{tmp_path}{spec}" if spec.startswith("/") else spec
    assert loaded(tmp_path, named)[0] == f"{path} helped"


@pytest.mark.parametrize("package", ["shop", "test", "code", "msgspec", "lib/shop"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_module_of_a_package_keeps_its_package_whatever_that_is_called(tmp_path, package, absolute):
    folder = tmp_path / package
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("beside = 'the package'")
    (folder / "inner/__init__.py").write_text("")
    (folder / "inner/tasks.py").write_text(APP.format(sibling="from .. import beside"))
    spec = f"{folder}/inner/tasks.py:app" if absolute else f"{package}/inner/tasks.py:app"
    assert loaded(tmp_path, spec)[0] == f"{folder}/inner/tasks.py the package"


def test_a_file_that_adds_tasks_by_importing_the_app_adds_them_to_the_same_app(tmp_path):
    write(tmp_path, src__tasks=APP.format(sibling="beside = ''") + "import more", src__more="""
from tasks import app
@app.task
def another() -> None: ...
""")  # fmt: skip
    assert loaded(tmp_path, "src/tasks.py")[1] == ["another", "where"]


@pytest.mark.parametrize("name", ["queue", "email", "profile"])
def test_what_lies_beside_an_app_hides_nothing_of_the_standard_library(tmp_path, name):
    sibling = f"import sys, {name}; beside = {name}.__file__.startswith(sys.base_prefix)"
    write(tmp_path, tasks=APP.format(sibling=sibling), **{name: "raise RuntimeError"})
    assert loaded(tmp_path, "tasks:app")[0] == f"{tmp_path}/tasks.py True"


def test_what_lies_beside_an_app_comes_before_the_import_path_of_the_environment(tmp_path, monkeypatch):
    for folder in ("here", "there"):
        write(tmp_path / folder, tasks=APP.format(sibling=PLAIN), helper=f"beside = '{folder}'")
    monkeypatch.syspath_prepend(tmp_path / "there")
    assert loaded(tmp_path / "here", "tasks:app")[0] == f"{tmp_path}/here/tasks.py here"


def failure(spec):
    with pytest.raises(AppNotLoaded) as caught:
        load_app(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.traceback


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_app_that_cannot_be_imported_shows_the_traceback_of_its_own_code(here):
    write(
        here, wrong_total="def total(n):\n    return 1 / n\n", wrong_app="import wrong_total\n\nwrong_total.total(0)\n"
    )
    said, shown = failure("wrong_app:app")
    assert said == "'wrong_app' cannot be imported: ZeroDivisionError: division by zero"
    lines = shown.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{here}/wrong_app.py", line 3, in <module>'
    assert f'  File "{here}/wrong_total.py", line 2, in total' in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_an_app_with_a_wrong_line_shows_that_line(here):
    write(here, mistyped_app="app = (\n")
    said, shown = failure("mistyped_app.py")
    assert "SyntaxError" in said
    assert f'File "{here}/mistyped_app.py", line 1' in shown


def test_a_name_that_python_uses_for_something_else_is_told_with_both_places(here):
    write(here, platform="Machine = 1", fitting_app="from platform import Machine")
    said, _ = failure("fitting_app:app")
    assert f"/platform.py, and not from {here}/platform.py: rename that." in said
    assert ". 'platform' is imported from /" in said
    said, _ = failure("json.tasks:app")
    assert said.startswith(f"There is no module 'json.tasks' in {here} or on Python's path: Python takes 'json' from /")
    said, _ = failure("json:app")
    assert said.startswith("module 'json' (/")


def test_a_folder_that_has_been_deleted_is_said(here):
    here.rmdir()
    assert failure("tasks:app")[0] == "The working folder of this process has been deleted."


def test_a_file_that_other_machines_would_not_find_under_its_name_is_not_for_them(here):
    write(here, json__tasks="", code__there="")
    with pytest.raises(AppNotLoaded, match=r"json/tasks.py has no module name of its own: Python takes 'json' from /"):
        as_module("json/tasks.py:app")
    write(here, jobs__tasks="")
    assert as_module("jobs/tasks.py") == "jobs.tasks:app"
