"""Number of generated requests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def so_many(examples):
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
