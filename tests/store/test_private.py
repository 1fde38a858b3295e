"""Which modes and owners of a file leave a secret to its owner."""

import os

import pytest

from headway.private import exposed

ROOT, USER = 0, 1000


def status(mode, owner):
    return os.stat_result((0o100000 | mode, 1, 1, 1, owner, 1, 1, 0, 0, 0))


@pytest.mark.parametrize("owner", [ROOT, USER])
def test_what_its_owner_alone_may_read_is_private(owner):
    for mode in (0o600, 0o400, 0o700):
        assert exposed(status(mode, owner)) is None


def test_a_group_may_read_what_root_owns_and_nothing_else():
    for mode in (0o640, 0o440):
        assert (exposed(status(mode, ROOT)), exposed(status(mode, USER))) == (None, f"{mode:o}")


@pytest.mark.parametrize("owner", [ROOT, USER])
def test_what_others_may_read_or_change_is_not(owner):
    for mode in (0o644, 0o604, 0o660, 0o620, 0o602, 0o601, 0o777, 0o444):
        assert exposed(status(mode, owner)) == f"{mode:o}"
