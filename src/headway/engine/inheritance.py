"""Inheritance of a retry: the recorded steps that it takes over, so that it goes on from what succeeded.

Steps, sleeps, signals and children that succeeded are taken over, and so are children that have not ended. What failed is
left out, so that the function does it again under the same name: failed children, and a wait that timed out or was not over
when the run ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from headway.errors import InvalidState
from headway.model.run import State

ORIGIN: Final = "continued-from:"
"""The step of a retry with the id of the first run of its chain, which keeps idempotency keys the same."""
HEIR: Final = "continued-by:"
"""Steps of this prefix in a final run name the retries that go on from it."""
FAILED_CHILD: Final = "failed-child:"
"""Before the name of a child's step: the child of an earlier run that the next child of that name goes on from."""
STEP_FAILURE: Final = "step-failure:"
"""Before the name of a step, which a colon and a number follow: a try of the step that failed. Retries do not take it over."""
CHILDREN_MAX: Final = 1_000
"""Limit of the children that a retry takes over although they ended after the run, or have not ended."""


class Child(msgspec.Struct, frozen=True):
    """A child that the run has started."""

    step: str
    """The name of the step that has its id."""
    run_id: str
    state: State | None
    """None: it was removed, and nothing says how it ended."""
    told: bool
    """True if the run has a step with its result."""


class Inheritance(msgspec.Struct, frozen=True):
    """The differences between the steps of a retry and those of its run."""

    left_out: list[str]
    """Names of steps that are not copied."""
    failed: dict[str, str]
    """Step name → id of the child that failed and is started again."""
    adopted: list[str]
    """Children that have not ended: they get the retry as their parent."""
    told: list[str]
    """Children that succeeded after the run had ended: the retry gets their results."""


def inheritance(last_step: str, *, woken: bool, children: Iterable[Child]) -> Inheritance:
    """Return what a retry takes over of a run whose code recorded `last_step` last.

    `woken` says whether a worker has claimed the run since then. Raises InvalidState for a child that is still stopping.
    """
    left_out: list[str] = []
    failed: dict[str, str] = {}
    adopted: list[str] = []
    told: list[str] = []
    if last_step.startswith("signal-expired:") or (last_step.startswith("suspend:") and not woken):
        left_out.append(last_step)
    for child in children:
        match child.state:
            case State.SUCCEEDED:
                if not child.told:
                    told.append(child.run_id)
            case State.FAILED | State.TERMINATED | None:
                left_out += [child.step, f"child-result:{child.run_id}", FAILED_CHILD + child.step]
                if child.state is not None:
                    failed[child.step] = child.run_id
            case State.STOPPING:
                raise InvalidState(
                    f"the run's child {child.run_id} is still stopping: retry when it has stopped, or from scratch",
                    state=str(child.state),
                )
            case _:
                adopted.append(child.run_id)
    return Inheritance(left_out, failed, adopted, told)
