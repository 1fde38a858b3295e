"""The validity and rotation of keys and the chain of the audit log, as pure functions."""

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
from headway.kernel.organisation import Organisation

NOW = 1_800_000_000_000
KEY = Key("k", 1, None, "n", "[]", None, None, None, 0, None, None, None)
ORGANISATION = Organisation(1, "o", "default", "UTC", 0)
USER = User("u", 1, "Ada", "", "active", 0, 0)


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
