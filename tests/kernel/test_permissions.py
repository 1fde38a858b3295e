"""The scopes of a key, and the effects that they permit, as pure functions."""

from headway.kernel.authority import EVERYBODY, GRANTABLE, OPERATING, READING, Principal
from headway.kernel.permissions import (
    NEEDS,
    OF_ACTION,
    OF_BUILT_IN,
    OF_CONFLICT,
    beyond,
    declares_beyond,
    lacking,
    lacking_for_child,
    may,
    of_start,
    of_task,
)
from headway.kernel.task import Task


def principal(*scopes, organisation=1, queues=None):
    return Principal(organisation, "k", 1, None, frozenset(scopes), queues, "n")


def test_nobody_may_what_was_not_given():
    for scope in GRANTABLE:
        assert not may(principal(), scope)
        assert may(principal(scope), scope)
        assert not may(principal(*(set(GRANTABLE) - {scope})), scope)
    assert may(principal(), "caller")


def test_what_is_about_the_whole_server_is_for_the_first_organisation():
    for scope in GRANTABLE:
        assert may(principal(*GRANTABLE, organisation=2), scope) is (scope not in OPERATING)


def test_a_new_key_can_only_look():
    assert all(scope.endswith(":read") for scope in READING)
    assert "audit:read" not in READING


def test_nobody_gives_what_they_do_not_have():
    assert beyond(principal("run:read"), ["run:read"], None) == []
    assert beyond(principal("run:read"), ["run:read", "run:start"], None) == ["run:start"]
    bound = principal("worker:protocol", queues=("a",))
    assert beyond(bound, [], None) == ["all queues"]
    assert beyond(bound, [], ["a", "b"]) == ["queue b"]
    assert beyond(EVERYBODY, GRANTABLE, None) == []


def test_nobody_has_an_effect_without_its_scope():
    for effect, need in NEEDS.items():
        assert lacking(principal(need.scope), [effect]) is None
        assert lacking(principal(*(set(GRANTABLE) - {need.scope})), [effect]) == effect
        assert lacking(EVERYBODY, [effect]) is None
    assert lacking(principal(), []) is None
    assert lacking(principal("run:start"), ["start a run", "replace a run", "see a run"]) == "replace a run"


def test_a_start_does_what_its_task_does_and_what_becomes_of_the_run_with_its_key():
    assert of_start("backup") == ("start a run",)
    assert of_start("backup", "reject") == ("start a run",)
    assert of_start("backup", "replace") == ("start a run", "replace a run")
    assert of_start("headway.import", "debounce") == ("start a run", "import records", "delay a run")
    assert of_task("headway.to-come") == ("act on many runs",)
    assert {*OF_BUILT_IN.values(), *sum(OF_CONFLICT.values(), ()), *sum(OF_ACTION.values(), ())} <= NEEDS.keys()


def test_a_worker_starts_children_in_the_queues_of_its_key_and_elsewhere_with_the_scope():
    free, bound = principal("worker:protocol"), principal("worker:protocol", queues=("a",))
    replaces = of_start("backup", "replace")
    assert lacking_for_child(free, replaces, "b") is None, "it could claim and end every one of them"
    assert lacking_for_child(bound, of_start("backup"), "a") is None
    assert lacking_for_child(bound, of_start("backup"), "b") == "start a run"
    assert lacking_for_child(bound, replaces, "a") == "replace a run"
    assert lacking_for_child(free, of_start("headway.export"), "headway") is None
    assert lacking_for_child(bound, of_start("headway.export"), "a") is None
    assert lacking_for_child(free, of_start("headway.import"), "headway") == "import records"
    theirs = principal("worker:protocol", queues=("a",), organisation=2)
    assert lacking_for_child(theirs, of_start("backup"), "2\x1fa") is None
    assert lacking_for_child(theirs, of_start("backup"), "a") == "start a run", "the first organisation's queue"


def test_a_key_that_is_bound_to_queues_declares_what_is_and_stays_in_them():
    free, bound = principal("worker:protocol"), principal("worker:protocol", queues=("a",))
    here, there = Task(name="t", queue="a"), Task(name="t", queue="b")
    shared = Task(name="t", queue="a", shared=True)
    cases = [(here, None, False), (here, here, False), (there, None, True), (here, there, True), (there, here, True)]
    for task, known, beyond_its_queues in cases:
        assert declares_beyond(bound, task, known) is beyond_its_queues
        assert declares_beyond(free, task, known) is False
    theirs = principal("worker:protocol", queues=("a",), organisation=2)
    assert declares_beyond(theirs, Task(name="2\x1ft", queue="2\x1fa"), shared), "it would hide the shared one"
