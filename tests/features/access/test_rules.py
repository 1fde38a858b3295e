"""Who is let in and how often, as pure functions: keys, limits, the chain of the log."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headway.features.access.model import AuditEvent, Key, Secret, User
from headway.features.access.rules import (
    Head,
    breaks,
    chained,
    fault,
    is_live,
    rotated,
)
from headway.kernel.authority import EVERYBODY, GRANTABLE, OPERATING, READING, Principal
from headway.kernel.organisation import Organisation
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
from headway.web.ratelimits import DAY_MS, MINUTE_MS, Window, spent

NOW = 1_800_000_000_000
KEY = Key("k", 1, None, "n", "[]", None, None, None, 0, None, None, None)
ORGANISATION = Organisation(1, "o", "default", "UTC", 0)
USER = User("u", 1, "Ada", "", "active", 0, 0)


def principal(*scopes, organisation=1, queues=None):
    return Principal(organisation, "k", 1, None, frozenset(scopes), queues, "n")


def test_a_key_is_good_until_it_expires_or_is_revoked():
    assert fault(KEY, None, ORGANISATION, NOW) is None
    assert fault(replace(KEY, expires_at=NOW + 1), None, ORGANISATION, NOW) is None
    assert fault(replace(KEY, expires_at=NOW), None, ORGANISATION, NOW) == "expired"
    assert fault(replace(KEY, revoked_at=NOW), None, ORGANISATION, NOW) == "revoked"


def test_a_key_is_as_good_as_its_user_and_organisation():
    mine = replace(KEY, user_id="u")
    assert fault(mine, USER, ORGANISATION, NOW) is None
    assert fault(mine, replace(USER, state="disabled"), ORGANISATION, NOW) == "user_disabled"
    assert fault(KEY, None, replace(ORGANISATION, state="disabled"), NOW) == "organisation_disabled"


def test_what_is_unknown_is_not_good():
    assert fault(replace(KEY, user_id="u"), None, ORGANISATION, NOW) == "user_disabled"
    assert fault(KEY, None, None, NOW) == "organisation_disabled"


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


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100)), max_size=20))
def test_a_key_never_has_more_than_two_secrets_that_work(turns):
    now, secrets = 0, [Secret("k", 1, "d1", 0, None)]
    for pause, overlap in turns:
        now += pause
        before = [secret for secret in secrets if is_live(secret, now)]
        secrets = rotated(secrets, "k", f"d{now}", overlap, now)
        live = [secret for secret in secrets if is_live(secret, now)]
        assert len(live) == (2 if overlap else 1)
        assert live[-1].until is None
        assert live[-1].number == max(secret.number for secret in before) + 1
        if overlap:
            assert live[0].number == before[-1].number
            assert live[0].until == now + overlap


@given(st.integers(1, 20), st.lists(st.integers(0, 3 * MINUTE_MS), max_size=60))
def test_no_window_takes_more_than_its_limit(limit, pauses):
    window, now, taken = Window(MINUTE_MS, limit), NOW, {}
    for pause in pauses:
        now += pause
        place = now // MINUTE_MS
        over = spent((window,), now)
        assert (over is None) == (taken.get(place, 0) < limit)
        taken[place] = taken.get(place, 0) + (over is None)
    assert all(count <= limit for count in taken.values())


def test_what_one_window_refuses_no_other_counts():
    minute, day = Window(MINUTE_MS, 5), Window(DAY_MS, 2)
    assert [spent((minute, day), NOW) for _ in range(4)] == [None, None, day, day]
    assert (minute.mine, day.mine) == (2, 2)


def test_what_other_servers_have_counted_is_not_left_here():
    window = Window(MINUTE_MS, 5)
    window.left(NOW)
    window.resume(window.started_at, 1, 3)
    assert window.left(NOW) == 1
    window.resume(window.started_at - MINUTE_MS, 5, 5)  # of a window that is over
    assert window.left(NOW) == 1
    assert window.left(NOW + MINUTE_MS) == 5


def test_a_clock_that_was_set_back_does_not_close_a_window_for_ever():
    window = Window(MINUTE_MS, 1)
    assert spent((window,), NOW + DAY_MS) is None
    assert spent((window,), NOW) is None


def log(length):
    lines, head = [], Head()
    for number in range(1, length + 1):
        event = AuditEvent(number, number, 1, "ada", "k", "ip", "agent", "key.create", f"o{number}", "done", "r", "")
        lines.append(chained(event, head.hash))
        head = Head(number, lines[-1].hash)
    return lines, head


def test_a_whole_log_has_no_breaks():
    for length in (0, 1, 5):
        assert list(breaks(*log(length))) == []


@given(st.data())
def test_any_change_of_any_field_breaks_the_log(data):
    lines, head = log(5)
    at = data.draw(st.integers(0, 4))
    name = data.draw(st.sampled_from(AuditEvent.__struct_fields__))
    value = getattr(lines[at], name)
    lines[at] = replace(lines[at], **{name: value + 1 if isinstance(value, int) else value + "x"})
    assert list(breaks(lines, head))


def test_a_line_removed_inserted_or_moved_breaks_the_log():
    for at in range(5):
        lines, head = log(5)
        assert list(breaks(lines[:at] + lines[at + 1 :], head)), at
        renumbered = [replace(line, number=n) for n, line in enumerate(lines[:at] + lines[at + 1 :], 1)]
        assert list(breaks(renumbered, head)), at
        assert list(breaks([*lines[: at + 1], lines[at], *lines[at + 1 :]], head)), at
    lines, head = log(5)
    assert list(breaks(lines[::-1], head))


def test_a_line_that_was_forged_with_its_hash_does_not_fit_the_next():
    lines, head = log(5)
    lines[2] = chained(replace(lines[2], actor="eve"), lines[1].hash)
    assert [number for number, _ in breaks(lines, head)] == [4]


def test_lines_cut_off_the_end_are_missed():
    lines, head = log(5)
    assert list(breaks(lines[:4], head))
    assert list(breaks([], head))


def test_a_rewritten_log_is_told_by_its_head():
    lines, head = log(5)
    rewritten, before = [], ""
    for line in (replace(line, actor="eve") for line in lines):
        rewritten.append(chained(line, before))
        before = rewritten[-1].hash
    assert list(breaks(rewritten, head))
