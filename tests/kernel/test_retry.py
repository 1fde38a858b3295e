"""Retries: the wait grows, has a ceiling, and is spread."""

from hypothesis import given
from hypothesis import strategies as st

from headway.kernel import retry
from headway.kernel.task import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 1000),
    first_ms=st.integers(0, 10**9),
    factor=st.floats(1, 100),
    longest_ms=st.integers(0, 10**11),
    jitter=st.floats(0, 1),
)
failures = st.integers(1, 10_000)
randoms = st.floats(0, 1, exclude_max=True)


@given(policies, failures, randoms)
def test_the_wait_stays_within_its_spread_around_the_nominal(policy, failures, random):
    exact = min(policy.first_ms * policy.factor ** min(failures - 1, 64), policy.longest_ms)
    delay = retry.delay_ms(policy, failures, random)
    assert isinstance(delay, int)
    assert exact * (1 - policy.jitter) - 1 <= delay <= exact * (1 + policy.jitter) + 1


@given(policies, st.integers(1, 100))
def test_without_jitter_the_wait_never_shrinks(policy, failures):
    assert retry.delay_ms(policy, failures, 0.5) <= retry.delay_ms(policy, failures + 1, 0.5)


def test_the_default_doubles_from_a_second_to_an_hour():
    waits = [retry.delay_ms(RetryPolicy(), failures, 0.5) for failures in range(1, 15)]
    assert [1_000, 2_000, 4_000, 8_000] == waits[:4]
    assert 3_600_000 == waits[-1]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_crashes_do_not_use_up_attempts(failures, crashes, most):
    assert retry.spent(failures + crashes, crashes, most) == (failures >= most)
