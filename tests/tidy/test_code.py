"""Rules about the code itself, as far as no linter holds them."""

import ast
import re
import subprocess
import sys

import pytest
from tests.tidy.code import KEPT, MODULES, PACKAGE, ROOT, everything, name, offenders

NOBODYS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "types", "shared", "stuff", "tools"}
VAGUE = re.compile(r"^\s*class \w+(Manager|Helper|Impl|Util|Utils|Base|Data|Info|Handler)\b")
SQL = re.compile(r"""["'](?:\s*)(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TABLE|INDEX)|PRAGMA|BEGIN)\b""")


def test_modules_are_named_after_what_they_are():
    assert [name(path) for path in MODULES if path.stem in NOBODYS or path.parent.name in NOBODYS] == []


def test_classes_are_named_after_what_they_are():
    assert offenders(VAGUE) == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is_for(path):
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert re.match(r"\S.*?[.:!?]($|\s)", said.replace("\n", " ")), (
        "the first sentence of the docstring is printed in the tree"
    )


def test_tasks_are_started_where_someone_ends_them():
    allowed = (
        "runs/loops/loop.py",
        "runs/built_in/worker.py",
        "worker/",
        "cli/worker.py",
        "testing/sink.py",
        "web/disconnect.py",
        "store/store.py",
        "serving/opening.py",
    )
    bare = re.compile(r"(?<!group\.)\b(create_task|ensure_future)\(")  # a task group ends its own
    assert offenders(bare, allowed) == []


def test_commands_change_rows_by_methods_that_count_the_change():
    by_hand = re.compile(r"\buow\.(changes [-+]?= |database\.(run|must)\b(?!.*# not counted))")
    assert offenders(by_hand) == []


def test_no_module_imports_a_test_module():
    folders = ("tests", "tools", "benchmarks", "examples")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    imports = re.compile(
        r"^\s*(?:from|import) tests\.[\w.]*\btest_\w+|^\s*from tests[\w.]* import .*\btest_\w+", re.MULTILINE
    )
    assert [path.relative_to(ROOT).as_posix() for path in paths if imports.search(path.read_text("utf-8"))] == []


def test_nothing_sleeps_in_the_server():
    allowed = (
        "runs/built_in/worker.py",
        "features/record_tasks/sending.py",
        "web/server.py",  # at its end: uvicorn tells nobody that a connection has closed
        "worker/context/plans.py",
        "client/aio/pace.py",
        "client/sync/pace.py",
        "cli/bench.py",
    )
    assert offenders(re.compile(r"\b(asyncio|time)\.sleep\((?!0\))|await sleep\("), (*allowed, "bench/load.py")) == []


def test_the_wall_clock_is_read_in_one_place():
    benchmark = ("cli/bench.py", "bench/app.py", "bench/load.py")
    wall = re.compile(r"\btime\.time\(|\btime_ns\(|\bdate(time)?\.(now|utcnow|today)\(")
    assert offenders(wall, ("clock.py", *benchmark)) == []


def test_chance_and_the_clock_stay_out_of_the_engine():
    chance = re.compile(r"\b(random|uuid\d?|secrets|urandom|monotonic)\b\s*[.(]")
    assert [line for line in offenders(chance) if line.startswith("kernel/")] == []


def test_sql_stands_in_storage():
    assert offenders(SQL, ("store/", "features/")) == []


def test_a_state_is_not_set_outside_the_engine():
    assert offenders(re.compile(r"\bstate ?= ?State\."), ("kernel/",)) == [
        "runs/starting.py: state=State.SCHEDULED if run_at > now_ms else State.QUEUED,"  # a run is born
    ]


def test_nothing_is_left_to_be_done():
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [
        path.name for path in everything() if path.suffix in {".py", ".sql", ".md"} and _says(path, unfinished)
    ] == ["test_code.py"]


def test_files_are_small():
    assert [str(path) for path in everything() if path.stat().st_size >= 400_000] == []


def test_nothing_is_committed_that_a_tool_has_left_behind():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    strange = {path.partition("/")[0] for path in listed.stdout.splitlines() if "/" in path} - KEPT
    assert strange == set()


def test_no_machine_is_named():
    # Split, so that this line does not find itself.
    machine = re.compile("/(" + "|".join(("work" + "/", "root" + "/", "home" + "/", "Users" + "/")) + r")\w")
    text = [path for path in everything() if path.suffix not in {".zip", ".png", ".db"}]
    assert [str(path.relative_to(ROOT)) for path in text if _says(path, machine)] == []


def test_imports_point_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_engine_and_model_import_no_others():
    for folder in ("engine", "model"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headway."):
                    assert node.module.split(".")[1] in {"engine", "model", "errors", "durations"}, (
                        f"{name(path)}: {node.module}"
                    )


def _says(path, pattern):
    return pattern.search(path.read_text(encoding="utf-8", errors="replace")) is not None
