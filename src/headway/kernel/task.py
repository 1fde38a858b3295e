"""The task: a named, versioned definition of work, as its worker declares it."""

from __future__ import annotations

import msgspec


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`count` starts in `period_ms` in the long run, and at most `count` at once after a pause (GCRA, ITU-T I.371)."""

    count: int
    period_ms: int


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential back-off of failed attempts: first_ms * factor^(n-1), at most longest_ms, ± jitter."""

    max_attempts: int = 3
    first_ms: int = 1_000
    factor: float = 2.0
    longest_ms: int = 3_600_000
    jitter: float = 0.2
    """Random share of the delay, so that simultaneous failures are not all tried again at the same time."""
    do_not_retry: tuple[str, ...] = ()
    """Names of exception classes whose failures are final."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Retention of finished runs by final state, in milliseconds; None is for ever."""

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
    """Number of crashes after which a run fails as poison."""
    timeout_ms: int | None = None
    """Limit of an attempt, from claim to outcome."""
    heartbeat_timeout_ms: int | None = None
    """Longest silence of an attempt's own code."""
    grace_ms: int = 30_000
    """Time for a run to stop by itself before its worker is killed."""
    concurrency: int | None = None
    concurrency_per_key: int | None = None
    rate: Limit | None = None
    rate_per_key: Limit | None = None
    key: str | None = None
    """Dotted path of the key in the input, for starts without a key."""
    retention: Retention = Retention()
    resources: dict[str, float] = {}
    """Resources that a run needs of its node in a Ray cluster."""
    shared: bool = False
    """Whether every organisation may start it; only a task of the first organisation can be shared."""
    active: bool = True
    created_at: int = 0
    updated_at: int = 0
