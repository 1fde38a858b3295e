"""Options of a task beside its function: retries, rates, retention; checked when the task is declared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import msgspec

from headway.durations import LONGEST_MS, format_ms, parse_ms
from headway.kernel.task import RetryPolicy
from headway.kinds import parse_bytes
from headway.protocol.workers import RateSpec, RetentionDeclaration, RetrySpec

Duration = str | int | float | timedelta
"""A duration: a text such as "1h30m", seconds as a number, or a timedelta."""


def to_ms(duration: Duration) -> int:
    """Return milliseconds; raise ValueError for an invalid duration."""
    if isinstance(duration, str):
        return parse_ms(duration)
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds * 1000 <= LONGEST_MS:
        raise ValueError(f"{duration!r} is not a duration")
    return round(seconds * 1000)


def to_text(duration: Duration) -> str:
    """Return the spelling for the wire."""
    return format_ms(to_ms(duration))


def to_bytes(size: str | int) -> int:
    """Return the number of bytes in "512MiB"; raise ValueError for an invalid size."""
    if isinstance(size, int):
        return size
    return parse_bytes(size)


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Retries of a failed attempt: after `backoff` * `factor`^(n-1), at most `max_backoff`, give or take the share `jitter`."""

    max_attempts: int = 3
    backoff: Duration = "1s"
    factor: float = 2.0
    max_backoff: Duration = "1h"
    jitter: float = 0.2
    do_not_retry: tuple[type[BaseException] | str, ...] = ()
    """Exception classes, or their names, whose failures are final; subclasses are included."""

    def names(self) -> list[str]:
        """Return the names of the exceptions that are not retried."""
        return [entry if isinstance(entry, str) else entry.__name__ for entry in self.do_not_retry]

    def policy(self) -> RetryPolicy:
        """Return the engine's policy, for a step; raise ValueError for invalid values."""
        try:
            msgspec.convert(msgspec.to_builtins(self.declared()), RetrySpec)
        except msgspec.ValidationError as error:
            raise ValueError(f"this cannot be the retry of a step: {error}") from None
        return RetryPolicy(
            max_attempts=self.max_attempts, first_ms=to_ms(self.backoff), factor=self.factor,
            longest_ms=to_ms(self.max_backoff), jitter=self.jitter, do_not_retry=tuple(self.names()),
        )  # fmt: skip

    def declared(self) -> RetrySpec:
        """Return the wire's struct."""
        return RetrySpec(
            max_attempts=self.max_attempts, backoff=to_text(self.backoff), factor=float(self.factor),
            max_backoff=to_text(self.max_backoff), jitter=float(self.jitter), do_not_retry=self.names(),
        )  # fmt: skip


class Rate(msgspec.Struct, frozen=True):
    """A rate: at most `limit` starts in `period`."""

    limit: int
    period: Duration

    def declared(self) -> RateSpec:
        """Return the wire's struct."""
        return RateSpec(limit=self.limit, period=to_text(self.period))


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Retention of finished runs by state, as durations; None is for ever."""

    succeeded: Duration | None = "30d"
    failed: Duration | None = "90d"
    terminated: Duration | None = "30d"

    def declared(self) -> RetentionDeclaration:
        """Return the wire's struct."""
        kept = {name: None if value is None else to_text(value) for name, value in msgspec.structs.asdict(self).items()}
        return RetentionDeclaration(**kept)


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `app.task`."""

    name: str | None = None
    title: str = ""
    version: str = "1"
    description: str | None = None
    executor: Literal["inline", "thread", "process", "ray"] | None = None
    queue: str = "default"
    priority: int = 5
    retry: Retry = Retry()
    max_crashes: int = 3
    timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    grace: Duration = "30s"
    concurrency: int | None = None
    concurrency_per_key: int | None = None
    rate: Rate | None = None
    rate_per_key: Rate | None = None
    key: str | None = None
    retention: Retention = Retention()
    memory_limit: str | int | None = None
    resources: Mapping[str, float | str] = {}
    shared: bool | None = None

    def __post_init__(self) -> None:
        """Raise TypeError for a value that is no policy, such as `retry=3`."""
        for name, kind in (("retry", Retry), ("rate", Rate), ("rate_per_key", Rate), ("retention", Retention)):
            value = getattr(self, name)
            if not isinstance(value, kind) and not (value is None and kind is Rate):
                raise TypeError(f"{name}= takes a headway.{kind.__name__}, not {value!r}")

    def declared(self) -> dict[str, Any]:
        """Return the fields of the wire's declaration that do not depend on the function."""
        return {
            "title": self.title, "version": self.version, "queue": self.queue, "priority": self.priority, "key": self.key,
            "max_crashes": self.max_crashes, "retry": self.retry.declared(), "retention": self.retention.declared(),
            "timeout": None if self.timeout is None else to_text(self.timeout),
            "heartbeat_timeout": None if self.heartbeat_timeout is None else to_text(self.heartbeat_timeout),
            "grace": to_text(self.grace),
            "concurrency": self.concurrency, "concurrency_per_key": self.concurrency_per_key,
            "rate": None if self.rate is None else self.rate.declared(),
            "rate_per_key": None if self.rate_per_key is None else self.rate_per_key.declared(),
        }  # fmt: skip
