"""Steps that the retry of a run takes over."""

import pytest

from headway.errors import InvalidState
from headway.kernel.inheritance import Child, inheritance
from headway.kernel.run import State

LIVE = {State.SCHEDULED, State.QUEUED, State.RUNNING, State.SUSPENDED}


def of(*children, last="s", woken=True):
    return inheritance(last, woken=woken, children=children)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("state", [*State, None])
def test_children_that_succeeded_stay_those_that_failed_are_started_again_and_the_others_are_adopted(state, told):
    child = Child("child:c#1", "id", state, told)
    if state is State.STOPPING:
        with pytest.raises(InvalidState, match="still stopping"):
            of(child)
        return
    found = of(child)
    assert (["id"] if state in LIVE else []) == found.adopted
    assert (["id"] if state is State.SUCCEEDED and not told else []) == found.late_results
    again = state in (State.FAILED, State.TERMINATED, None)
    assert (["child:c#1", "child-result:id", "failed-child:child:c#1"] if again else []) == found.left_out
    assert ({"child:c#1": "id"} if again and state is not None else {}) == found.failed


@pytest.mark.parametrize(
    ("last", "woken", "again"),
    [
        ("signal-expired:go#1", True, True),
        ("signal-expired:go#1", False, True),
        ("suspend:1", False, True),
        ("suspend:1", True, False),
        ("sleep:1", False, False),
        ("fetch", False, False),
        ("", False, False),
    ],
)
def test_a_wait_is_asked_again_if_it_timed_out_last_or_was_not_over(last, woken, again):
    assert ([last] if again else []) == of(last=last, woken=woken).left_out
