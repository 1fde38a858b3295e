"""The reference is the code's: every setting, option, code, route and public name is in it, as it is now."""

import importlib
import re

import pytest
from tests.docs.pages import ROOT
from tools import faults, reference, tree

import headway
from headway.cli.main import TABLE
from headway.config import ClientSettings, Settings, WorkerSettings
from headway.errors import BY_CODE
from headway.server import ROUTES
from headway.setting import settings_of
from headway.surfaces import tables

FOLDER = ROOT / "docs/reference"


def page(name):
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written():
    return reference.pages()


@pytest.mark.parametrize("name", ["settings", "cli", "errors", "http-api", "python"])
def test_a_page_of_the_reference_is_current(written, name):
    assert page(name) == written[FOLDER / f"{name}.md"], "run python tools/reference.py"


def test_the_page_of_faults_is_what_the_results_make():
    made = faults.page(faults.read(faults.RESULTS))
    assert faults.PAGE.read_text(encoding="utf-8") == made, "run python tools/faults.py --write"


def test_what_is_tried_again_takes_the_place_of_what_was_seen_of_it_before():
    def seen(fault, tries, **more):
        counts = {"tries": tries, "acknowledged": tries, "lost": 0, "doubled": 0, "date": "2026-01-01", "commit": "a"}
        return {"system": "headway", "fault": fault, "store": "sqlite", **counts, **more}

    beside, again = (seen("kill", tries, system="huey", peer={}) for tries in (3, 4))
    another = seen("kill", 3, system="headway-sqlite", peer={})
    kept = [seen("kill", 1), seen("kill", 2), seen("cut", 5), beside, another]
    taken = faults.taken(kept, [seen("kill", 10, commit="b"), seen("kill", 20, commit="b"), again])
    assert taken == [seen("cut", 5), another, seen("kill", 30, acknowledged=30, commit="b"), again]


def test_the_tree_in_architecture_is_current():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert tree.written(text) == text, "run python tools/tree.py --write"


def test_every_setting_is_there():
    shown = set(re.findall(r"`HEADWAY_(\w+)` \|", page("settings")))
    every = (Settings, WorkerSettings, ClientSettings, *tables())
    assert shown == {
        each.variable.removeprefix("HEADWAY_") for table in every for each in settings_of(table) if each.variable
    }


def test_every_command_is_there():
    shown = re.findall(r"(?m)^## headway ([\w-]+)$", page("cli"))
    assert shown == list(TABLE)


def test_every_error_is_there():
    importlib.import_module("headway.web.asgi")
    text = page("errors")
    assert [code for code in BY_CODE if f"`{code}`" not in text and code != "error"] == []


def test_every_route_is_there():
    text = page("http-api")
    assert [route.name for route in ROUTES if f"| `{route.name}` |" not in text] == []


def test_every_public_name_is_there():
    text = page("python")
    assert [name for name in headway.__all__ if f"### {name}\n" not in text] == []


def test_every_way_in_which_a_run_fails_is_there():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/headway").rglob("*.py"))
    said = re.findall(r'RunError\(code="(\w+)"|failed\(lease, "(\w+)"|_report\(error, "(\w+)"\)', source)
    codes = {code for match in said for code in match if code}
    assert codes <= reference.RUN_ERRORS.keys()
