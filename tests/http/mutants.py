"""Proves the tests of keys: each is run once against a copy of the product with a bug that it must find.

python -m tests.http.mutants                   all of them, as a table
python -m tests.http.mutants no-scope …        some
"""

import sys

from tests.faults.mutants import Mutant, main

GATE = "tests/http/test_gate.py::"
KEYS = "tests/http/test_keys.py::"
SERVERS = "tests/servers/test_access.py::"
WAYS = "tests/http/test_scopes.py::test_an_effect_takes_its_scopes_whatever_the_way_to_it"
WALK = "tests/http/test_scopes.py::test_a_key_of_just_the_scopes_of_a_route_sees_and_does_nothing_beyond_them"
BOUND = "tests/http/test_bound_workers.py::"
LOG = "tests/storage/test_access.py::"

MUTANTS = (
    Mutant(
        "no-scope", "http/guard.py",
        "        if not (may(principal, scope)", "        if False and not (may(principal, scope)",
        GATE + "test_every_route_asks_for_its_scope_and_for_no_other",
    ),
    Mutant(
        "gate-after-the-body", "http/asgi.py",
        "        self.gate.permit(route, call)\n        call.service = self.service.of(call.principal.organisation)\n",
        "        call.service = self.service.of(call.principal.organisation)\n",
        GATE + "test_the_gate_comes_before_body_and_query",
        ("        reply = await route.handler(call)", "        self.gate.permit(route, call)\n        reply = await route.handler(call)"),
    ),
    Mutant(
        "open-without-a-key", "service/access/access.py",
        "        return self.directory.locked\n", "        return False\n",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "whoever-is-on-the-machine", "http/guard.py",
        "        return keyless if keyless is not None and is_local(call.client, call.headers) else None", "        return keyless",
        KEYS + "test_who_is_let_in_without_a_key_is_on_this_machine_and_forwards_nothing",
    ),
    Mutant(
        "any-port-is-ours", "http/sites.py",
        "(theirs[0], theirs[1] or port) == (ours[0], ours[1] or port)", "theirs[0] == ours[0]",
        "tests/http/test_sites.py::test_an_origin_is_the_hosts_with_its_port",
    ),
    Mutant(
        "one-key-takes-all-streams", "http/streams.py",
        "        if shared:\n", "        if False:\n",
        "tests/http/test_stream_shares.py::test_a_key_that_only_reads_keeps_nobody_else_out",
    ),
    Mutant(
        "closed-while-they-send", "http/protocol.py",
        "        if not reads:\n", "        if True:\n",
        "tests/http/test_early_answers.py::test_what_is_sent_after_the_last_answer_takes_that_from_nobody",
    ),
    Mutant(
        "opens-again-when-all-are-revoked", "service/access/directory.py",
        "        return bool(self.keys)",
        "        return any(entry.key.revoked_at is None for entry in self.keys.values())",
        KEYS + "test_from_the_first_key_on_one_is_needed",
    ),
    Mutant(
        "secret-not-compared", "service/access/access.py",
        "            if hmac.compare_digest(known, digest):", "            if number:",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "secret-compared-in-part", "service/access/access.py",
        "            if hmac.compare_digest(known, digest):", "            if known[:1] == known[:1] and number and known[-1:] != '':",
        GATE + "test_no_route_lets_in_who_has_no_key_or_not_the_right_one",
    ),
    Mutant(
        "one-everywhere", "http/asgi.py",
        "        call.service = self.service.of(call.principal.organisation)\n", "        call.service = self.service.of(1)\n",
        GATE + "test_nothing_of_another_organisation_is_seen_or_changed",
    ),
    Mutant(
        "keys-of-all", "service/access/keys.py",
        "        return entry.key.organisation == self._organisation", "        return True",
        GATE + "test_nothing_of_another_organisation_is_seen_or_changed",
        ("            if key.id == key_id and key.organisation == self._organisation:", "            if key.id == key_id:"),
    ),
    Mutant(
        "users-of-all", "service/access/users.py",
        "        if user is None or user.organisation != self._organisation:", "        if user is None:",
        GATE + "test_what_is_not_ones_own_is_answered_as_what_is_not_there",
    ),
    Mutant(
        "operating-for-all", "engine/access.py",
        "    if scope in OPERATING and principal.organisation != FIRST:", "    if False:",
        "tests/engine/test_access.py::test_what_is_about_the_whole_server_is_for_the_first_organisation",
    ),
    Mutant(
        "keys-that-may-more", "service/access/keys.py",
        "        _refuse_beyond(by, scopes, asked.queues)\n        text", "        text",
        KEYS + "test_nobody_makes_a_key_that_may_more_than_their_own",
    ),
    Mutant(
        "remembered-after-the-end", "http/guard.py",
        "        if self._generation != self._access.generation:", "        if self._generation == -1:",
        KEYS + "test_a_key_that_is_taken_away_lets_nobody_in_from_the_answer_on",
    ),
    Mutant(
        "remembered-beyond-expiry", "http/guard.py",
        "        if found is not None and now_ms >= found.until:", "        if False:",
        KEYS + "test_a_key_expires_by_the_clock",
    ),
    Mutant(
        "streams-outlive-the-key", "http/asgi.py",
        '                patient.end("revoked")', "                pass",
        KEYS + "test_streams_and_long_polls_end_with_the_key_that_opened_them",
    ),
    Mutant(
        "long-polls-answer-after-the-key", "http/patience.py",
        '        if ours and self.over == "revoked":', "        if False:",
        KEYS + "test_streams_and_long_polls_end_with_the_key_that_opened_them",
    ),
    Mutant(
        "others-do-not-look", "service/access/access.py",
        "        if self.shared:\n            await self.refresh()\n", "",
        SERVERS + "test_a_key_that_is_revoked_at_one_server_is_refused_at_the_other_and_its_streams_end",
    ),
    Mutant(
        "three-secrets", "engine/access.py",
        "    kept = [secret for secret in known if secret.number == last and is_live(secret, now_ms)]",
        "    kept = [secret for secret in known if is_live(secret, now_ms)]",
        KEYS + "test_a_rotated_key_has_two_secrets_for_the_overlap_and_one_after_it",
    ),
    Mutant(
        "first-of-two-keys", "http/guard.py",
        "    if mine is not None and mine != shown:", "    if False:",
        KEYS + "test_two_different_keys_in_one_request_are_refused",
    ),
    Mutant(
        "queues-of-a-key-forgotten", "http/workers.py",
        "    if not queues or not queues <= {*mine}:", "    if False:",
        KEYS + "test_a_workers_key_is_held_to_its_queues",
    ),
    Mutant(
        "limits-one-too-many", "engine/access.py",
        "window.left(now_ms)) <= 0:", "window.left(now_ms)) < 0:",
        KEYS + "test_of_many_at_once_just_as_many_are_let_in_as_the_limit_says",
    ),
    Mutant(
        "chain-without-the-line-before", "engine/access.py",
        "_encode([before, *fields])", "_encode(fields)",
        "tests/engine/test_access.py::test_a_line_that_was_forged_with_its_hash_does_not_fit_the_next",
    ),
    Mutant(
        "flood-on-the-disk", "service/access/audit.py",
        "            if self._room.left(now_ms) <= 0 or", "            if",
        KEYS + "test_a_flood_from_everywhere_does_not_fill_the_disk",
    ),
    Mutant("whole-for-all", "http/asgi.py", "        if shows is not None and", "        if False and", WALK),
    Mutant("whole-for-all-of-cloudcoin", "compat/cloudcoin/routes.py", 'whole=call.may("see a run")', "whole=True", WALK),
    Mutant(
        "replaces-what-others-started", "model/effects.py",
        '{"replace": ("replace a run",), "debounce": ("delay a run",)}', "{}", WAYS,
    ),
    Mutant("repeats-an-import", "http/runs.py", "    await _check_repeat(call)\n", "", WAYS),
    Mutant("counts-before-a-bulk", "http/runs.py", '        call.check("count runs")\n', "", WAYS),
    Mutant("schedules-start-runs", "http/schedules.py", '_START: Final = ("start a run",)', "_START: Final = ()", WAYS),
    Mutant("triggers-a-bulk", "http/schedules.py", "    call.check(*of_task((await call.service", "    return\n    call.check(*of_task((await call.service", WAYS),
    Mutant("other-conditions", "http/record_tasks.py", "        _check(call, before.actions)\n", "", WAYS),
    Mutant("converts-records", "http/tables.py", '        call.check("convert records", "see records")\n', "        pass\n", WAYS),
    Mutant(
        "takes-a-task-over", "service/workers.py", "        if not beyond:", "        if True:",
        BOUND + "test_a_task_of_another_queue_cannot_be_declared_anew",
    ),
    Mutant(
        "pauses-schedules-of-others", "service/declaring.py",
        "            if not within(by, _queue(unit, space, before)):", "            if False:",
        BOUND + "test_a_schedule_of_another_queue_is_neither_taken_over_by_its_name_nor_paused",
    ),
    Mutant(
        "children-anywhere", "engine/access.py", "    if within(principal, queue):", "    if True:",
        BOUND + "test_children_are_started_in_the_queues_of_the_key_and_elsewhere_with_the_scope_to_start_runs",
    ),
    Mutant(
        "seals-anything", "storage/access.py", "    if before is not None and before.number and not", "    if False and not",
        LOG + "test_a_server_does_not_seal_a_log_that_was_written_anew_and_says_so",
    ),
    Mutant(
        "no-witness-to-the-log", "storage/verify.py", '    for what, name in read("verify_audited"):', "    for what, name in ():",
        LOG + "test_a_log_that_was_emptied_with_its_end_is_missed_by_what_was_made",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS, "-k", "not postgres or servers"))
