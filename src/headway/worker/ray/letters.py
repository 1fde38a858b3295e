"""Messages between a worker and its Ray driver, over their socket: JSON in frames, those for and from functions unopened."""

from __future__ import annotations

from msgspec import Raw, Struct

from headway.worker.outbox import Key


class Letter(Struct, frozen=True):
    """The root of all letters about a run: which, under which lease."""

    run_id: str
    epoch: int

    @property
    def key(self) -> Key:
        """The lease."""
        return self.run_id, self.epoch


class Submit(Letter, frozen=True, tag="submit"):
    """To the driver: have Ray execute this lease."""

    task: str
    lease: Raw
    resources: dict[str, float]


class Post(Letter, frozen=True, tag="post"):
    """To the driver: pass this on to the function."""

    frame: Raw


class Recall(Letter, frozen=True, tag="recall"):
    """To the driver: a run that has not begun is not to begin."""


class Kill(Letter, frozen=True, tag="kill"):
    """To the driver: end its process, now."""


class Joined(Struct, frozen=True, tag="joined"):
    """From the driver: Ray takes runs. Or not, and `problem` says why; then the driver ends."""

    problem: str = ""
    nodes: int = 0


class Waits(Letter, frozen=True, tag="waits"):
    """From the driver: Ray has not found it a place yet."""

    message: str


class Began(Letter, frozen=True, tag="began"):
    """From the driver: a process on that node has taken it up."""

    node: str


class Mail(Letter, frozen=True, tag="mail"):
    """From the driver: what the function says."""

    frame: Raw


class Ended(Letter, frozen=True, tag="ended"):
    """From the driver, after all mail: the Ray task is over; `died` says how, unless it returned."""

    died: str = ""


ToDriver = Submit | Post | Recall | Kill
FromDriver = Joined | Waits | Began | Mail | Ended
