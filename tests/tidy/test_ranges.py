"""What `./test --ranges` says of a failure: the packages that it comes from."""

from itertools import combinations

import pytest
from tools.ranges import CULPRITS_MAX, culprits

NAMES = ["aiohttp", "apsw", "click", "jinja2", "msgspec", "psycopg", "psycopg-binary", "rich", "yarl"]
OURS = dict.fromkeys(NAMES, "1") | {"tool": "1"}
THEIRS = dict.fromkeys(NAMES, "2") | {"tool": "1", "only-theirs": "1"}


def breaking(*wrong):
    """Return a run of tests that fails with version 2 of any of these; the two of psycopg cannot be told apart."""

    def fails(pins):
        assert pins.keys() == OURS.keys() | THEIRS.keys(), "each is installed in some version"
        assert pins["psycopg"] == pins["psycopg-binary"], "what belongs together stays together"
        return any(pins[name] == "2" for name in wrong)

    return fails


@pytest.mark.parametrize("wrong", ["aiohttp", "click", "jinja2", "yarl"])
def test_the_package_is_named(wrong):
    assert culprits(OURS, THEIRS, breaking(wrong)) == [wrong]


def test_all_of_several_packages_are_named():
    for wrong in combinations(["aiohttp", "apsw", "msgspec", "rich", "yarl"], CULPRITS_MAX):
        assert sorted(culprits(OURS, THEIRS, breaking(*wrong))) == sorted(wrong)


def test_packages_that_belong_together_are_named_together():
    assert culprits(OURS, THEIRS, breaking("psycopg")) == ["psycopg", "psycopg-binary"]


def test_a_package_is_named_of_two_that_fail_only_together():
    found = culprits(OURS, THEIRS, lambda pins: pins["click"] == pins["rich"] == "2")
    assert found in (["click"], ["rich"])


def test_none_is_named_where_the_versions_are_not_what_it_comes_from():
    assert culprits(OURS, THEIRS, lambda _: True) == []
    assert culprits(OURS, THEIRS, lambda _: False) == []
