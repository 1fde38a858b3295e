"""Run the core tests with the oldest and the newest of what Headway depends on: `./test --ranges`.

The oldest is locks/lowest.txt, the newest what the index has within the ranges of pyproject.toml. Both are tried on this Python
and on a newer one: HEADWAY_TEST_PYTHON, or the newest on the PATH that pyproject.toml names. Where tests fail, packages are taken
back to their locked versions until it is known which of them it is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from tools import lock

ROOT: Final = lock.ROOT
FOLDER: Final = ROOT / ".ranges"
CORE: Final = (
    "tests/kernel/test_lifecycle.py",
    "tests/web/test_http.py",
    "tests/web/test_server.py",
    "tests/web/test_status_codes.py",
    "tests/web/test_streams.py",
    "tests/web/test_hostile_clients.py",
    "tests/client/test_async_client.py",
    "tests/client/test_connection.py",
    "tests/client/test_transport.py",
    "tests/client/test_encoding.py",
    "tests/worker/test_worker.py",
    "tests/worker/test_program.py",
    "tests/worker/test_signature.py",
    "tests/worker/test_declaring.py",
    "tests/worker/test_types.py",
    "tests/worker/test_pydantic.py",
    "tests/worker/test_process.py",
    "tests/outbound",
    "tests/cli/test_commands.py",
    "tests/cli/test_bar.py",
    "tests/cli/test_admin.py",
    "tests/store/test_statements.py",
    "tests/store/test_opening.py",
    "tests/store/test_opening_on_postgres.py",
    "tests/runs/test_starting.py",
    "tests/features/tables/test_external.py",
    "tests/features/tables/test_external_cells.py",
    "tests/vault",
    "tests/e2e/test_backup.py",
)
"""Tests that use each dependency, and take a minute or two."""
NEWER_PYTHON: Final = ROOT.parent / "shared/tools/newer-python"
"""An optional program beside the repository that makes a newer Python in a folder."""
CULPRITS_MAX: Final = 3

Pins = dict[str, str]
"""Versions by package."""


class Python(NamedTuple):
    """A Python to run tests with."""

    path: str
    version: str
    """Such as 3.13."""


def version_of(path: str) -> tuple[int, ...]:
    """Return the version of a Python, such as (3, 13); nothing for what is none."""
    command = [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(part) for part in done.stdout.split("."))


def newer_python() -> Python | None:
    """Return a Python that is newer than this one and that pyproject.toml says Headway runs on, or None."""
    words = tomllib.loads((ROOT / lock.PROJECT).read_text(encoding="utf-8"))["project"]["classifiers"]
    supported = [
        found[1] for word in words if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", word))
    ]
    made, named = FOLDER / "newer", os.environ.get("HEADWAY_TEST_PYTHON")
    names = [f"python{each}" for each in reversed(supported)]
    candidates = [named] if named else [*names, *(str(made / name) for name in names)]

    def found() -> str | None:
        return next((each for each in candidates if version_of(each) > sys.version_info[:2]), None)

    if found() is None and not named and NEWER_PYTHON.exists():
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([NEWER_PYTHON, made], stdout=subprocess.DEVNULL, check=False)
    path = found()
    return isolated(shutil.which(path) or path) if path else None


def isolated(path: str) -> Python:
    """Return the Python of a new empty virtual environment; the given one if none can be made."""
    version = ".".join(map(str, version_of(path)))
    at = FOLDER / f"python-{version}"
    shutil.rmtree(at, ignore_errors=True)
    subprocess.run([path, "-m", "venv", "--without-pip", at], capture_output=True, check=False)
    own = str(at / "bin/python")
    return Python(own if version_of(own) else path, version)


class Bench:
    """Installer of packages: uv, in the version of the lock."""

    def __init__(self) -> None:
        """Install uv."""
        shutil.rmtree(FOLDER / "uv", ignore_errors=True)
        self._uv = lock.uv(FOLDER / "uv")
        self.locked: Pins = lock.pins((ROOT / "locks/dev.txt").read_text(encoding="utf-8"))

    def pins(self, python: Python, *words: str) -> Pins:
        """Return the versions that a Python gets for these requirements."""
        options = [f"--python-version={python.version}", "--quiet", "--no-header", "--no-annotate"]
        done = subprocess.run(
            [*self._uv, "compile", *options, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{done.stderr}no versions fit together on Python {python.version}")
        return lock.pins(done.stdout)

    def lowest(self, python: Python) -> Pins:
        """Return the oldest versions."""
        return self.pins(python, "locks/lowest.txt")

    def newest(self, python: Python) -> Pins:
        """Return the newest versions of what Headway depends on, and the tools of the core tests as they are locked."""
        tools = FOLDER / "tools.txt"
        tools.write_text(lock.core_tools(self.locked))
        return self.pins(python, *lock.EXTRAS, str(tools))

    def install(self, python: Python, pins: Pins, at: Path) -> Path:
        """Install packages; return the program that is the Python with them."""
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir(parents=True)
        wanted, site, program = at / "requirements.txt", at / "site", at / "python"
        wanted.write_text("\n".join(f"{name}=={version}" for name, version in pins.items()))
        options = [
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            f"--python-version={python.version}",
            f"--target={site}",
        ]
        subprocess.run([*self._uv, "install", *options, "-r", wanted], check=True)
        # A program in place of a virtual environment, since not every Python can make one: what a test starts as
        # `sys.executable` has the same packages, whatever else is in its environment.
        (site / "sitecustomize.py").write_text(f"import sys\n\nsys.executable = {str(program)!r}\n")
        paths = shlex.quote(f"{site}{os.pathsep}{ROOT / 'src'}")
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={paths}"${{PYTHONPATH:+:$PYTHONPATH}}" exec {shlex.quote(python.path)} "$@"\n'
        )
        program.chmod(0o755)
        return program


def failed(program: Path, tests: Sequence[str], *, shown: bool) -> list[str]:
    """Run tests; return the failing ones, or all if the run does not begin."""
    cache = program.parent / "cache"
    options = ["-q", "-n", "2", "--dist", "loadfile", "-o", f"cache_dir={cache}", "--maxfail=20" if shown else "-x"]
    done = subprocess.run(
        [program, "-m", "pytest", *options, *tests], cwd=ROOT, check=False, capture_output=not shown,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    if not done.returncode:
        return []
    last = cache / "v/cache/lastfailed"
    return list(json.loads(last.read_text())) if last.exists() else list(tests)


def culprits(ours: Pins, theirs: Pins, fails: Callable[[Pins], bool]) -> list[str]:
    """Return the packages whose versions make the tests fail, where the locked versions pass.

    Packages are taken back to our version one by one, in halves, until it does not fail any more; what belongs together by its
    name (psycopg, psycopg-binary) goes together.
    """
    family = {name: name.split("-")[0] for name in theirs}
    changed = sorted(
        (name for name in theirs if ours.get(name, theirs[name]) != theirs[name]), key=lambda name: (family[name], name)
    )
    groups = [list(names) for _, names in groupby(changed, key=family.__getitem__)]
    found: list[str] = []

    def mixed(count: int) -> Pins:
        """The first groups have the tried versions, except packages found already; all others have the locked ones."""
        taken = {name for group in groups[:count] for name in group} - set(found)
        return ours | theirs | {name: ours[name] for name in changed if name not in taken}

    while len(found) < CULPRITS_MAX and fails(mixed(len(groups))):
        low, high = 0, len(groups)  # it holds with the first `low` and fails with the first `high`
        if fails(mixed(0)):
            break
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fails(mixed(middle)) else (middle, high)
        found += groups[low]
    return found


def tried(bench: Bench, name: str, python: Python, pins: Pins, tests: Sequence[str]) -> str:
    """Run tests with versions; return the failures, or nothing."""
    print(f"── the {name} of each range on Python {python.version}", flush=True)
    at = FOLDER / f"{name}-{python.version}"
    wrong = failed(bench.install(python, pins, at), tests, shown=True)
    if not wrong:
        return ""

    def fails(mixed: Pins) -> bool:
        return bool(failed(bench.install(python, mixed, FOLDER / "mixed"), wrong, shown=False))

    if not fails(pins):
        print(f"── {len(wrong)} tests failed, and not again with the same versions: first {wrong[0]}", flush=True)
        return ""
    ours = {each: bench.locked[each] for each in pins if each in bench.locked}
    found = culprits(ours, pins, fails)
    named = ", ".join(f"{each} {pins[each]} (locked: {ours[each]})" for each in found)
    return f"{name} on Python {python.version}: {named or 'whatever the versions are'}: {len(wrong)} tests, first {wrong[0]}"


def main() -> int:
    """Try every range on both Pythons."""
    tests, bench = sys.argv[1:] or CORE, Bench()
    this = isolated(sys.executable)
    pythons: Iterable[Python] = [this]
    if newer := newer_python():
        pythons = [this, newer]
    else:
        print(
            f"── Only on Python {this.version}: no newer one is here; HEADWAY_TEST_PYTHON=/path/to/python3.13 names one"
        )
    wrong = []
    for python in pythons:
        wrong.append(tried(bench, "lowest", python, bench.lowest(python), tests))
        newest = bench.newest(python)
        if python == this and newest.items() <= bench.locked.items():
            print(
                f"── the newest of each range on Python {python.version}: those of the lock, with which ./test runs everything"
            )
        else:
            wrong.append(tried(bench, "newest", python, newest, tests))
    for text in filter(None, wrong):
        print(f"── Not passed: {text}")
    if not any(wrong):
        print(f"── All passed: lowest and newest on Python {' and '.join(each.version for each in pythons)}")
    return any(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
