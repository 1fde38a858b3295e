"""What a wait that fails says is what whoever looks for the cause begins with."""

import pytest
from tests.faults.waiting import until


def test_a_wait_that_fails_says_how_it_is_then_and_not_how_it_was_when_it_began():
    looks = []

    def look():
        looks.append(len(looks))
        return False

    with pytest.raises(AssertionError, match=r"not within 0\.1 s: looked [1-9]\d* times"):
        until(look, 0.1, lambda: f"looked {len(looks)} times")
