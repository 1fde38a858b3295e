"""The lock: made from this pyproject.toml, whole, and from no place in particular; and the bill of materials that follows from it."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.docs.pages import ROOT
from tools import bill, index, lock

FILES = sorted((ROOT / "locks").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]


def group(name):
    for each in GROUPS[name]:
        yield from [each] if isinstance(each, str) else group(each["include-group"])


ASKED = {
    "run": PROJECT["project"]["dependencies"],
    "dev": [*PROJECT["project"]["dependencies"], *EXTRAS["postgres"], *EXTRAS["external"], *group("dev")],
    "build": [*PROJECT["build-system"]["requires"], *group("build")],
    "image": [*PROJECT["project"]["dependencies"], *EXTRAS["postgres"], *EXTRAS["external"]],
    "ray": EXTRAS["ray"],
    "patroni": group("patroni"),
    "lock": group("lock"),
    "lowest": [*PROJECT["project"]["dependencies"], *EXTRAS["postgres"], *EXTRAS["external"], *group("core")],
}


def test_the_lock_is_made_from_this_pyproject():
    assert lock.stale() == [], "run python tools/lock.py"


def test_every_file_of_the_lock_is_known():
    assert {path.stem for path in FILES} == set(ASKED)


@pytest.mark.parametrize("part", ASKED)
def test_the_lock_has_a_version_that_fits_whatever_is_asked_for(part):
    locked = {each.name: each.version for each in bill.packages(part)}
    asked = [Requirement(text) for text in ASKED[part]]
    wrong = [str(each) for each in asked if not each.specifier.contains(locked[canonicalize_name(each.name)])]
    assert wrong == []


def test_the_lowest_ray_is_the_one_that_is_tested_each_night():
    """It is too large for `./test --ranges`, which holds all other bounds."""
    (asked,) = EXTRAS["ray"]
    (locked,) = (each.version for each in bill.packages("ray") if each.name == "ray")
    assert asked == f"ray>={locked}"


def test_a_package_has_the_same_version_in_every_file_but_that_of_the_lowest():
    pins = {
        (each.name, each.version) for path in FILES if path.stem != lock.LOWEST for each in bill.packages(path.stem)
    }
    assert len(pins) == len({name for name, _ in pins})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_lock_names_hashes_and_no_index(path):
    """A place of its own would not be the one that a machine's pip is configured with."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9.-]+==\S+( ; [^:/\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)
    ] == []
    assert "://" not in path.read_text()
    assert all(each.hashes for each in bill.packages(path.stem))


def test_the_bill_of_materials_is_that_of_the_lock():
    assert bill.BILL.read_text(encoding="utf-8") == bill.bill(), "run python tools/bill.py"


def test_the_bill_of_materials_names_all_that_is_installed_with_headway():
    assert {each.name for each in bill.shipped()} >= {each.name for each in bill.packages("run")}
    assert {"psycopg", "sqlalchemy", "pymysql"} <= {each.name for each in bill.shipped()}
    assert {"pytest", "ruff", "hatchling"}.isdisjoint(each.name for each in bill.shipped())


def test_a_wheel_carries_a_bill_of_materials_that_fits_the_schema(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/sboms/headway.cdx.json"))
        text = archive.read(name).decode()
    assert text == bill.bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_uv_is_given_the_index_that_pip_has():
    """As `pip config list` prints it: a section's option, and its value as Python writes it."""
    configured = """
    global.index-url='https://mirror.example/simple'
    global.timeout='60'
    install.find-links='/wheels /more'
    :env:.index-url='https://other.example/simple'
    :env:.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
    global.disable-pip-version-check='1'
    """
    assert index.variables(configured.replace("    ", "")) == {
        "UV_DEFAULT_INDEX": "https://other.example/simple",
        "UV_HTTP_TIMEOUT": "60",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert index.variables("") == {}
