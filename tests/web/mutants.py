"""Seeded bugs that the tests of keys have to find.

python -m tests.web.mutants                   all of them, as a table
python -m tests.web.mutants no-scope …        some
"""

import sys

from tests.mutation import Mutant, main

GATE = "tests/web/test_gate.py::"
KEYS = "tests/features/access/test_keys.py::"
SERVERS = "tests/servers/test_access.py::"
WAYS = "tests/web/test_scopes.py::test_an_effect_takes_its_scopes_whatever_the_way_to_it"
WALK = "tests/web/test_scopes.py::test_a_key_of_just_the_scopes_of_a_route_sees_and_does_nothing_beyond_them"
BOUND = "tests/web/test_bound_workers.py::"
LOG = "tests/features/access/test_audit.py::"

MUTANTS = (
    Mutant(
        "no-scope", "Authorizer.authorize",
        "not (may(principal, scope) or (route.or_scope is not None and may(principal, route.or_scope)))",
        "False and (not (may(principal, scope) or (route.or_scope is not None and may(principal, route.or_scope))))",
        GATE + "test_every_route_asks_for_its_scope_and_for_no_other",
    ),
    Mutant(
        "gate-after-the-body", "Api._answer",
        "self.authorizer.authorize(route, call)", "pass",
        GATE + "test_the_gate_comes_before_body_and_query",
        also=("Api._answer", "reply = await route.handler(call)", "self.authorizer.authorize(route, call)\nreply = await route.handler(call)"),
    ),
    Mutant(
        "open-without-a-key", "Access.locked",
        "self.directory.locked", "False",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "whoever-is-on-the-machine", "Authorizer._keyless",
        "keyless if keyless is not None and is_local(call.client, call.headers) else None", "keyless",
        KEYS + "test_who_is_let_in_without_a_key_is_on_this_machine_and_forwards_nothing",
    ),
    Mutant(
        "any-port-is-ours", "HostCheck._is_own",
        "(theirs[0], theirs[1] or port) == (ours[0], ours[1] or port)", "theirs[0] == ours[0]",
        "tests/web/test_sites.py::test_an_origin_is_the_hosts_with_its_port",
    ),
    Mutant(
        "one-key-takes-all-streams", "Streams.enter",
        "if shared:\n    ...", "if False:\n    ...",
        "tests/web/test_stream_shares.py::test_a_key_that_only_reads_keeps_nobody_else_out",
    ),
    Mutant(
        "closed-while-they-send", "Connection._close",
        "not reads", "True",
        "tests/web/test_early_answers.py::test_what_is_sent_after_the_last_answer_takes_that_from_nobody",
    ),
    Mutant(
        "opens-again-when-all-are-revoked", "Directory.locked",
        "bool(self.keys)", "any((entry.key.revoked_at is None for entry in self.keys.values()))",
        KEYS + "test_from_the_first_key_on_one_is_needed",
    ),
    Mutant(
        "secret-not-compared", "Access._matching",
        "hmac.compare_digest(known, digest)", "number",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "secret-compared-in-part", "Access._matching",
        "hmac.compare_digest(known, digest)", "known[:1] == known[:1] and number and (known[-1:] != '')",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "one-everywhere", "Api._answer",
        "call.principal.organisation", "1",
        GATE + "test_nothing_of_another_organisation_is_seen_or_changed",
    ),
    Mutant(
        "keys-of-all", "Keys._is_ours",
        "entry.key.organisation == self._organisation", "True",
        GATE + "test_nothing_of_another_organisation_is_seen_or_changed",
        also=("_key_of", "key.id == key_id and key.organisation == organisation", "key.id == key_id"),
    ),
    Mutant(
        "users-of-all", "Users.get",
        "user is None or user.organisation != self._organisation", "user is None",
        GATE + "test_what_is_not_ones_own_is_answered_as_what_is_not_there",
    ),
    Mutant(
        "operating-for-all", "may",
        "scope in OPERATING and principal.organisation != FIRST", "False",
        "tests/kernel/test_permissions.py::test_what_is_about_the_whole_server_is_for_the_first_organisation",
    ),
    Mutant(
        "keys-that-may-more", "Keys.create",
        "_refuse_beyond(by, scopes, asked.queues)", "pass",
        KEYS + "test_nobody_makes_a_key_that_may_more_than_their_own",
    ),
    Mutant(
        "remembered-after-the-end", "Authorizer._cached",
        "self._generation != self._access.generation", "self._generation == -1",
        KEYS + "test_a_key_that_is_taken_away_lets_nobody_in_from_the_answer_on",
    ),
    Mutant(
        "remembered-beyond-expiry", "Authorizer._cached",
        "found is not None and now_ms >= found.until", "False",
        KEYS + "test_a_key_expires_by_the_clock",
    ),
    Mutant(
        "streams-outlive-the-key", "Api._end_revoked",
        "wait.end('revoked')", "pass",
        KEYS + "test_streams_and_long_polls_end_with_the_key_that_opened_them",
    ),
    Mutant(
        "long-polls-answer-after-the-key", "CancelOnDisconnect.__exit__",
        "ours and self.over == 'revoked'", "False",
        KEYS + "test_streams_and_long_polls_end_with_the_key_that_opened_them",
    ),
    Mutant(
        "others-do-not-look", "Access.tick",
        "if self.shared:\n    await self.refresh()", "pass",
        SERVERS + "test_a_key_that_is_revoked_at_one_server_is_refused_at_the_other_and_its_streams_end",
    ),
    Mutant(
        "three-secrets", "rotated",
        "secret.number == last and is_live(secret, now_ms)", "is_live(secret, now_ms)",
        KEYS + "test_a_rotated_key_has_two_secrets_for_the_overlap_and_one_after_it",
    ),
    Mutant(
        "first-of-two-keys", "_credential",
        "len(keys) > 1", "False",
        KEYS + "test_two_different_keys_in_one_request_are_refused",
    ),
    Mutant(
        "queues-of-a-key-forgotten", "_check",
        "not queues or not queues <= {*mine}", "False",
        KEYS + "test_a_workers_key_is_held_to_its_queues",
    ),
    Mutant(
        "limits-one-too-many", "spent",
        "(window.limit - window.mine - window.others if begun else window.left(now_ms)) <= 0",
        "(window.limit - window.mine - window.others if begun else window.left(now_ms)) < 0",
        KEYS + "test_of_many_at_once_just_as_many_are_let_in_as_the_limit_says",
    ),
    Mutant(
        "chain-without-the-line-before", "chained",
        "[before, *fields]", "fields",
        "tests/features/access/test_rules.py::test_a_line_that_was_forged_with_its_hash_does_not_fit_the_next",
    ),
    Mutant(
        "flood-on-the-disk", "Audit.flush",
        "self._room.left(now_ms) <= 0 or action == 'many'", "action == 'many'",
        KEYS + "test_a_flood_from_everywhere_does_not_fill_the_disk",
    ),
    Mutant(
        "whole-for-all", "Authorizer.authorize",
        "shows is not None and not may(principal, NEEDS[shows.effect].scope)", "False",
        WALK,
    ),
    Mutant(
        "whole-for-all-of-cloudcoin", "CommandHandlers.command",
        "call.may('see a run')", "True",
        WALK,
    ),
    Mutant(
        "replaces-what-others-started", "permissions",
        "OF_CONFLICT: Final[Mapping[str, tuple[Effect, ...]]] = {'replace': ('replace a run',), 'debounce': ('delay a run',)}",
        "OF_CONFLICT: Final[Mapping[str, tuple[Effect, ...]]] = {}",
        WAYS,
    ),
    Mutant(
        "repeats-an-import", "retry",
        "await _check_repeat(call)", "pass",
        WAYS,
    ),
    Mutant(
        "counts-before-a-bulk", "bulk",
        "call.check('count runs')", "pass",
        WAYS,
    ),
    Mutant(
        "schedules-start-runs", "schedules.routes",
        "_START: Final = ('start a run',)", "_START: Final = ()",
        WAYS,
    ),
    Mutant(
        "triggers-a-bulk", "_check_task",
        "call.check(*of_task((await call.services.get(Schedules).get(_named(call))).task))",
        "return\ncall.check(*of_task((await call.services.get(Schedules).get(_named(call))).task))",
        WAYS,
    ),
    Mutant(
        "other-conditions", "patch",
        "_check(call, before.actions)", "pass",
        WAYS,
    ),
    Mutant(
        "converts-records", "patch_field",
        "call.check('convert records', 'see records')", "pass",
        WAYS,
    ),
    Mutant(
        "takes-a-task-over", "_define",
        "not beyond", "True",
        BOUND + "test_a_task_of_another_queue_cannot_be_declared_anew",
    ),
    Mutant(
        "pauses-schedules-of-others", "Declaring.keep",
        "not within(by, _queue(uow, space, before))", "False",
        BOUND + "test_a_schedule_of_another_queue_is_neither_taken_over_by_its_name_nor_paused",
    ),
    Mutant(
        "children-anywhere", "lacking_for_child",
        "within(principal, queue)", "True",
        BOUND + "test_children_are_started_in_the_queues_of_the_key_and_elsewhere_with_the_scope_to_start_runs",
    ),
    Mutant(
        "seals-anything", "seal",
        "before is not None and before.number and (not uow.database.rows('read_audit_line', **asdict(before)))",
        "False and (not uow.database.rows('read_audit_line', **asdict(before)))",
        LOG + "test_a_server_does_not_seal_a_log_that_was_written_anew_and_says_so",
    ),
    Mutant(
        "no-witness-to-the-log", "_log",
        "read('verify_audited')", "()",
        LOG + "test_a_log_that_was_emptied_with_its_end_is_missed_by_what_was_made",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS, "-k", "not postgres or servers"))
