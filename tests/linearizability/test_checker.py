"""The checker itself: what it accepts, what it does not, and that it finds its way back."""

import random

import pytest
from tests.linearizability.checker import NEVER, Operation, backwards, by_run, unexplained


def register(value, operation):
    """A register: a write is answered with nothing, a read with the value."""
    if operation.verb == "write":
        return operation.given
    return value if operation.answer in (None, value) else None


def write(began, ended, value):
    return Operation("r", 0, "write", began, ended, value)


def read(began, ended, value):
    return Operation("r", 1, "read", began, ended, None, value)


def explained(*operations):
    return unexplained(list(operations), 0, register) is None


LINEARIZABLE = {
    "one after the other": [write(0, 1, 1), read(2, 3, 1)],
    "a read that begins before a write may see it": [read(0, 3, 1), write(1, 2, 1)],
    "a read that overlaps a write may not see it": [write(0, 3, 1), read(1, 2, 0)],
    "two readers during one write see it in turn": [write(0, 10, 1), read(1, 2, 0), read(3, 4, 1), read(5, 6, 1)],
    "writes at once are in any order": [write(0, 10, 1), write(0, 10, 2), read(11, 12, 1)],
    "what was never answered may have happened": [write(0, NEVER, 1), read(5, 6, 0), read(7, 8, 1)],
    "what was never answered may not have happened": [write(0, NEVER, 1), read(5, 6, 0), read(7, 8, 0)],
    "it has to go back more than once": [
        write(0, 20, 1), write(0, 20, 2), write(0, 20, 3), read(21, 22, 2), read(2, 3, 3), read(4, 5, 1),
    ],
}  # fmt: skip
NOT_LINEARIZABLE = {
    "a stale read": [write(0, 1, 1), read(2, 3, 0)],
    "a read from the future": [read(0, 1, 1), write(2, 3, 1)],
    "a value that nobody wrote": [write(0, 1, 1), read(2, 3, 2)],
    "back to the old value": [write(0, 10, 1), read(1, 2, 1), read(3, 4, 0)],
    "two readers disagree on the order": [
        write(0, 10, 1), write(0, 10, 2), read(11, 12, 1), read(13, 14, 2),
    ],
    "an acknowledged write is lost": [write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)],
    "what was never answered happens once only": [write(0, NEVER, 1), write(2, 3, 2), read(4, 5, 1), read(6, 7, 2)],
}  # fmt: skip


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_it_accepts(name):
    assert explained(*LINEARIZABLE[name])


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_it_refuses(name):
    assert not explained(*NOT_LINEARIZABLE[name])


def test_it_names_what_it_cannot_place():
    wrong = read(4, 5, 7)
    assert wrong in unexplained([write(0, 1, 1), read(2, 3, 1), wrong], 0, register)


def test_histories_that_a_register_has_made_are_accepted_and_spoiled_ones_are_not():
    rng, refused = random.Random(1), 0
    for _ in range(200):
        value, history = 0, []
        for moment in range(40):  # each takes effect at its moment, within an interval that overlaps others
            began, ended = moment - rng.uniform(0, 3), moment + rng.uniform(0, 3)
            if rng.random() < 0.5:
                value = moment + 1
                history.append(write(began, ended, value))
            else:
                history.append(read(began, ended, value))
        assert explained(*history)
        deployment = rng.choice([i for i, one in enumerate(history) if one.verb == "read"])
        history[deployment] = read(history[deployment].began, history[deployment].ended, 1000)
        refused += not explained(*history)
    assert refused == 200


def test_each_run_has_a_history_of_its_own():
    one, other = write(0, 1, 1), Operation("s", 0, "write", 0, 1, 1)
    assert by_run([one, other]) == {"r": [one], "s": [other]}


def test_versions_that_go_back_are_found_and_those_at_the_same_time_are_not_held_against_each_other():
    older, newer, meanwhile = read(2, 3, 4), read(0, 1, 5), read(0.5, 4, 4)
    assert backwards([older, newer, meanwhile], lambda answer: answer) == [(newer, older)]
    assert backwards([newer, meanwhile], lambda answer: answer) == []
