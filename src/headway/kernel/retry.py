"""Retries of failures: which are tried again, and after what delay."""

from __future__ import annotations

from headway.kernel.task import RetryPolicy


def delay_ms(policy: RetryPolicy, failures: int, jitter: float) -> int:
    """Return the wait after the `failures`-th failure (1, 2, …); `jitter` in [0, 1) is the caller's random number.

    Exponential, capped, and spread over ± policy.jitter around the nominal delay.
    """
    assert failures >= 1, failures
    exponent = min(failures - 1, 64)  # a float's power stays finite
    nominal = min(policy.first_ms * policy.factor**exponent, policy.longest_ms)
    return max(0, round(nominal * (1 + policy.jitter * (2 * jitter - 1))))


def spent(attempts: int, crashes: int, max_attempts: int) -> bool:
    """Return whether all attempts are used. Crashes have their own limit and are not counted here."""
    return attempts - crashes >= max_attempts
