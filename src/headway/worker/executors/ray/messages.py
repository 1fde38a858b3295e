"""Messages between a worker and its Ray driver, over their socket: JSON in frames, those for and from functions unopened."""

from __future__ import annotations

from msgspec import Raw, Struct

from headway.worker.context.report_buffer import Key


class Message(Struct, frozen=True):
    """Base of the messages about one lease."""

    run_id: str
    epoch: int

    @property
    def key(self) -> Key:
        """The lease."""
        return self.run_id, self.epoch


class SubmitTask(Message, frozen=True, tag="submit"):
    """Message to the driver: have Ray execute this lease."""

    task: str
    lease: Raw
    resources: dict[str, float]


class FrameToTask(Message, frozen=True, tag="post"):
    """Message to the driver: pass this frame on to the function."""

    frame: Raw


class Withdraw(Message, frozen=True, tag="recall"):
    """Message to the driver: cancel the Ray task unless a process has begun to execute it."""


class KillTask(Message, frozen=True, tag="kill"):
    """Message to the driver: kill the process of the Ray task."""


class JoinResult(Struct, frozen=True, tag="joined"):
    """Message from the driver: it has joined the cluster; or `problem` says why it could not, and it ends."""

    problem: str = ""
    nodes: int = 0


class PlacementPending(Message, frozen=True, tag="waits"):
    """Message from the driver: Ray has not placed the task yet; `text` says which resources it waits for."""

    text: str


class TaskStart(Message, frozen=True, tag="began"):
    """Message from the driver: a process on `node` has begun to execute the lease."""

    node: str


class FrameFromTask(Message, frozen=True, tag="mail"):
    """Message from the driver: a frame of the function."""

    frame: Raw


class TaskEnd(Message, frozen=True, tag="ended"):
    """Message from the driver, after all frames of the task: the Ray task is over; `failure` is empty if it returned."""

    failure: str = ""


ToDriver = SubmitTask | FrameToTask | Withdraw | KillTask
FromDriver = JoinResult | PlacementPending | TaskStart | FrameFromTask | TaskEnd
