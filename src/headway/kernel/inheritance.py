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
from headway.kernel.run import State

ORIGIN: Final = "continued-from:"
"""The step of a retry with the id of the first run of its chain, which keeps idempotency keys the same."""
HEIR: Final = "continued-by:"
"""Prefix of steps in a final run that name the retries that continue it."""
FAILED_CHILD: Final = "failed-child:"
"""Prefix of a child's step name: the earlier run's child that the next child of that name continues."""
STEP_FAILURE: Final = "step-failure:"
"""Prefix of a step name with a colon and a number: a failed try of that step. Retries do not inherit it."""
CHILDREN_MAX: Final = 1_000
"""Maximum number of children that a retry inherits although they ended after the run, or have not ended."""


class Child(msgspec.Struct, frozen=True):
    """A child of the run."""

    step: str
    """Name of the step with the child's id."""
    run_id: str
    state: State | None
    """None: the child was removed, and its outcome is unknown."""
    has_result: bool
    """Whether the run has a step with the child's result."""


class Inheritance(msgspec.Struct, frozen=True):
    """The differences between the steps of a retry and those of its run."""

    left_out: list[str]
    """Names of steps that are not copied."""
    failed: dict[str, str]
    """Failed children to be started again: id by step name."""
    adopted: list[str]
    """Unfinished children, whose parent becomes the retry."""
    late_results: list[str]
    """Children that succeeded after the run had ended: the retry gets their results."""


def inheritance(last_step: str, *, woken: bool, children: Iterable[Child]) -> Inheritance:
    """Return the differences between a retry's steps and those of its run, whose code recorded `last_step` last.

    `woken` is whether a worker has claimed the run since then. Raises InvalidState for a child that is still
    stopping.
    """
    left_out: list[str] = []
    failed: dict[str, str] = {}
    adopted: list[str] = []
    late_results: list[str] = []
    if last_step.startswith("signal-expired:") or (last_step.startswith("suspend:") and not woken):
        left_out.append(last_step)
    for child in children:
        match child.state:
            case State.SUCCEEDED:
                if not child.has_result:
                    late_results.append(child.run_id)
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
    return Inheritance(left_out, failed, adopted, late_results)
