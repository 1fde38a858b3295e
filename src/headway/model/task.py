"""The task: a named, versioned definition of work, as its worker declares it."""

from __future__ import annotations

import msgspec


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`count` starts in `period_ms` in the long run, and at most `count` at once after a pause (GCRA, ITU-T I.371)."""

    count: int
    period_ms: int


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which failures are tried again, and after how long: first_ms * factor^(n-1), at most longest_ms, ± jitter."""

    max_attempts: int = 3
    first_ms: int = 1_000
    factor: float = 2.0
    longest_ms: int = 3_600_000
    jitter: float = 0.2
    """The share of the delay that is random, so that a crowd of failures does not come back as a crowd."""
    do_not_retry: tuple[str, ...] = ()
    """Exception classes, by name, whose failures are final."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long finished runs are kept, by their final state; None is for ever."""

    succeeded_ms: int | None = 30 * 86_400_000
    failed_ms: int | None = 90 * 86_400_000
    terminated_ms: int | None = 30 * 86_400_000


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A named definition of work. The newest declaration of a name counts for runs that start from then on."""

    name: str
    title: str = ""
    """A name for people; empty: the task's name."""
    version: str = "1"
    description: str = ""
    executor: str = "inline"
    queue: str = "default"
    priority: int = 5
    input_schema: str = "{}"
    """JSON Schema (2020-12) of the input, read off the function's signature."""
    output_schema: str | None = None
    retry: RetryPolicy = RetryPolicy()
    max_crashes: int = 3
    """A run that takes its worker down this often is failed as poison."""
    timeout_ms: int | None = None
    """The longest an attempt may take, from claim to outcome."""
    heartbeat_timeout_ms: int | None = None
    """The longest an attempt may go without any sign of life from its own code."""
    grace_ms: int = 30_000
    """How long a run that is asked to stop has before its worker is killed."""
    concurrency: int | None = None
    concurrency_per_key: int | None = None
    rate: Limit | None = None
    rate_per_key: Limit | None = None
    key: str | None = None
    """Where in the input the key is, as a dotted path, when a start does not name one."""
    retention: Retention = Retention()
    resources: dict[str, float] = {}
    """What a run asks of its node in a Ray cluster."""
    shared: bool = False
    """Whether every organisation may start it; only a task of the first organisation can be shared."""
    active: bool = True
    created_at: int = 0
    updated_at: int = 0

    @property
    def limited(self) -> bool:
        """Whether any limit stands on its claims."""
        return self.concurrency is not None or self.rate is not None or self.limited_by_key

    @property
    def limited_by_key(self) -> bool:
        """Whether its runs may have to wait for others of the same key."""
        return self.concurrency_per_key is not None or self.rate_per_key is not None
