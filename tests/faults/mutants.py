"""Proves the fault tests: each is run once against a copy of the product with a bug that it must find.

    python -m tests.faults.mutants                 all of them, as a table
    python -m tests.faults.mutants no-fence …      some

The checkout itself is never changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from tests.faults.server import ROOT

SIMULATED = "tests/simulation/test_simulation.py::test_no_seed_breaks_a_promise_and_all_heal"
LINEARIZED = "tests/linearizability/test_linearizability.py::"
OUTAGES = "tests/servers/test_outages.py::"
WRITERS = "tests/storage/test_two_writers.py::"
ENDS = "tests/http/test_server.py::"
CLIENT = "tests/client/test_client.py::"
CLAIMS = "tests/service/test_sessions.py::"
SHARED = "tests/servers/test_servers.py::"
WRITING = "tests/storage/test_writer.py::"
SILENT = "tests/storage/test_silent_database.py::"
LOOPS = "tests/service/test_loops.py::"
OTHERS = "tests/service/test_organisations.py::"
SCHEDULES = "tests/servers/test_schedules.py::"
HOSTILE = "tests/http/test_hostile_clients.py::"
VERSIONS = "tests/http/test_versions.py::"
COPIED = ("src", "tests", "examples", "pyproject.toml")


class Mutant(msgspec.Struct, frozen=True):
    """A bug, and the test that finds it."""

    name: str
    file: str
    old: str
    new: str
    test: str
    """A pytest node id in tests/faults, or one that begins with tests/."""
    also: tuple[str, str] | None = None
    """A second change of the same file: old, new."""
    long: bool = False
    """Whether it is a test that is only tried if there are minutes."""


MUTANTS = (
    Mutant(
        "record-cursor-not-kept", "service/record_runs.py",
        "            self._keep(unit, after)\n            if size > PATCHED_BYTES:", "            if size > PATCHED_BYTES:",
        "test_record_kills.py::test_each_record_is_changed_exactly_once_whatever_is_killed",
    ),
    Mutant(
        "record-cursor-a-page-behind", "service/record_runs.py",
        "        self._run._keep(unit, after)", "        self._run._keep(unit, replace(after, after=before.after))",
        "tests/e2e/test_customer_status.py::test_every_customers_status_is_updated_once_though_the_server_is_killed_in_the_middle[sqlite-100000-1]",
    ),
    Mutant(
        "index-of-a-span-whatever-fits", "storage/tables.py",
        "            if whole and len(ids) >= SIDE_BY_SIDE:", "            if len(ids) >= SIDE_BY_SIDE:",
        "tests/service/test_record_patches.py::test_many_at_once_leave_what_one_by_one_leaves[sqlite-1]",
    ),
    Mutant(
        "message-named-by-its-attempt", "actions/sending.py",
        "        name = message_id(self._run.reached.origin, job.record.id, index)\n        try:",
        "        name = message_id(str(self._run.run.epoch), job.record.id, index)\n        try:",
        "test_record_kills.py::test_every_record_is_sent_and_what_is_sent_again_has_the_same_name",
    ),
    Mutant(
        "record-written-as-it-was-read", "service/record_runs.py",
        "        return before is not None and before.version == version and place not in self._whose",
        "        return before is not None",
        "tests/service/test_record_tasks.py::test_what_was_read_and_has_changed_is_read_again",
    ),
    Mutant(
        "guard-looks-only-when-a-target-is-named", "outbound/guard.py",
        "            if not self._may_dial(address[0], trusted=trusted):", "            if not address:",
        "tests/outbound/test_http.py::test_the_address_that_is_dialled_is_what_counts",
    ),
    Mutant(
        "headers-not-looked-at", "outbound/letter.py",
        "    if _BREAKS.search(text):", "    if not text.isprintable and _BREAKS.search(text):",
        "tests/outbound/test_mail.py::test_a_line_break_in_a_header_fails_the_mail",
    ),
    Mutant(
        "import-forgets-where-it-stood", "service/tables/importing.py",
        "            keep(unit, run, after.rows, after, after.at, file.bytes,",
        "            keep(unit, run, 0, ImportDone(), after.at, file.bytes,",
        "test_imports.py::test_an_import_that_is_killed_has_each_row_once[sqlite]",
    ),
    Mutant(
        "import-keeps-where-it-will-stand", "service/tables/importing.py",
        "            return after\n\n        return await self._store.write(work",
        "            return after\n\n        await self._store.write(lambda unit: keep(unit, run, done.rows + 1, replace(done, "
        "at=done.at + found[-1].end, rows=done.rows + len(found)), 1, file.bytes, '0 rows'), run_ids=[run.id])\n"
        "        return await self._store.write(work",
        "test_imports.py::test_an_import_that_is_killed_has_each_row_once[sqlite]",
    ),
    Mutant(
        "blanks-are-like-anything", "storage/records.py",
        'return f"({text} IS NULL OR {found})" if condition.operator in NEGATIVE else found', "return found",
        "tests/storage/test_conditions.py::test_sql_and_python_agree_on_every_condition[sqlite]",
    ),
    Mutant(
        "page-ends-at-its-window", "storage/tables.py",
        "        if not after or (found and edge):", "        if not after or edge:",
        "tests/storage/test_conditions.py::test_a_record_is_found_whatever_the_walk[sqlite]",
        ('        after = edge or (BLANKS if valued else "")', '        after = BLANKS if valued else ""'),
    ),
    Mutant(
        "index-keeps-what-was", "storage/tables.py",
        "for field, value, _ in was - now]", "for field, value, _ in was - was]",
        "tests/service/test_records.py::test_records_of_one_batch_may_exchange_unique_values[sqlite]",
    ),
    Mutant(
        "unique-in-the-batch-only", "service/tables/changing.py",
        "    owners = {(field, text): owner for", "    owners = {(field, text): owner for _ in () for",
        "tests/service/test_records.py::test_long_texts_that_begin_alike_are_told_apart[sqlite]",
    ),
    Mutant(
        "formulas-go-out", "engine/tables/portable.py",
        "return QUOTE + text if safe and", "return QUOTE + text if not safe and",
        "tests/service/test_imports.py::test_nothing_in_an_exported_file_is_a_formula[sqlite]",
    ),
    Mutant(
        "log-removed-at-start", "storage/sqlite/open.py",
        "        writing = SqliteDatabase(",
        '        path.with_name(path.name + "-wal").unlink(missing_ok=True)\n        writing = SqliteDatabase(',
        "test_server_kills.py::test_nothing_acknowledged_is_lost_when_the_server_is_killed",
    ),
    Mutant(
        "log-removed-at-start-2", "storage/sqlite/open.py",
        "        writing = SqliteDatabase(",
        '        path.with_name(path.name + "-wal").unlink(missing_ok=True)\n        writing = SqliteDatabase(',
        "test_fail_points.py::test_a_write_that_was_acknowledged_survives_a_kill",
    ),
    Mutant(
        "takes-its-time-to-start", "storage/sqlite/open.py",
        "        writing = SqliteDatabase(",
        '        __import__("time").sleep(3)\n        writing = SqliteDatabase(',
        "test_server_kills.py::test_a_server_with_a_hundred_thousand_open_runs_is_back_within_two_seconds[sqlite]", long=True,
    ),
    Mutant(
        "keys-forgotten", "service/idempotency.py",
        "    unit.remember(", "    (lambda *_: None)(",
        "test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all",
    ),
    Mutant(
        "keys-forgotten-2", "service/idempotency.py",
        "    unit.remember(", "    (lambda *_: None)(",
        "test_server_kills.py::test_one_idempotency_key_starts_one_run_however_many_send_it_at_once",
    ),
    Mutant(
        "keys-not-looked-up-in-a-batch", "service/idempotency.py",
        "    known = unit.reply(key)", "    known = unit.reply(key) if unit.changes == 0 else None",
        "test_races.py::test_one_idempotency_key_in_one_batch_has_one_effect",
    ),
    Mutant(
        "commit-in-the-middle", "storage/writer.py",
        "            unit.seal()\n", "            database.commit()\n            database.begin()\n            unit.seal()\n",
        "test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all",
    ),
    Mutant(
        "lost-claims-kept", "service/workers.py",
        "        if undelivered:\n", "        if False:\n",
        "test_fail_points.py::test_a_claim_whose_answer_was_lost_is_handed_back_and_counts_no_attempt",
    ),
    Mutant(
        "two-heartbeats-decide", "service/sessions.py",
        "        if claiming is None:\n            lost = [", "        if True:\n            lost = [", CLAIMS + "test_a_lease_whose_answer_is_under_way_is_nobody_elses_however_long_that_takes",
        ("if now_ms - since_ms >= lease_ms]", "if lease in before]"),
    ),
    Mutant(
        "late-heartbeats-believed", "service/sessions.py",
        "elif self._first < heard < self._beat and", "elif",
        CLAIMS + "test_heartbeats_that_were_late_say_nothing_of_a_claim_that_came_after_them",
        ("if beat <= heard]", "if lease in before]"),
    ),
    Mutant(
        "all-claims-wait-here", "service/sessions.py",
        "self._waiting.issuperset(claiming)", "True",
        CLAIMS + "test_a_claim_that_waits_at_another_server_may_hold_what_is_not_named",
    ),
    Mutant(
        "claims-wait-with-what-they-have", "service/workers.py",
        "            if taken:\n                session.claims.ended(asked.number)\n", "",
        CLAIMS + "test_a_claim_that_has_taken_a_run_does_not_wait_any_more_before_that_is_committed",
    ),
    Mutant(
        "repeated-claims-counted-on", "service/sessions.py",
        "        if number > self._latest:\n", "        if number:\n",
        CLAIMS + "test_a_claim_that_comes_twice_is_not_known_to_hold_nothing",
    ),
    Mutant(
        "others-heartbeats-taken-for-ours", "service/sessions.py",
        "secrets.randbits(32) << 20", "0",
        CLAIMS + "test_what_was_heard_of_another_server_counts_for_nothing",
    ),
    Mutant(
        "old-workers-hurried", "service/sessions.py",
        "if now_ms - since_ms >= lease_ms]", "if lease in before]",
        CLAIMS + "test_of_a_worker_that_says_nothing_of_its_claims_no_answer_is_under_way_longer_than_a_lease",
    ),
    Mutant(
        "held-before-claiming", "worker/protocol/heartbeat.py",
        "        claiming = session.claiming.now\n        held = list(attempts.held)",
        "        held = list(attempts.held)\n        claiming = session.claiming.now",
        "tests/worker/test_worker.py::test_what_a_claim_brings_while_a_heartbeat_is_made_is_held_or_under_way",
    ),
    Mutant(
        "one-number-for-two-servers", "worker/protocol/link.py",
        "        def ask(server: Transport) -> bytes:\n            body = self._encode(replace(wanted, number=number()))\n",
        "        body = self._encode(replace(wanted, number=number()))\n\n        def ask(server: Transport) -> bytes:\n",
        "tests/worker/test_link.py::test_a_claim_that_is_asked_of_another_server_has_another_number",
    ),
    Mutant(
        "migration-in-two-transactions", "storage/sqlite/migrate.py",
        "            connection.execute(sql)\n",
        '            connection.execute(sql)\n            connection.execute("COMMIT")\n            connection.execute("BEGIN IMMEDIATE")\n',
        "test_fail_points.py::test_a_migration_that_is_killed_leaves_a_store_that_opens",
    ),
    Mutant(
        "stream-resumes-one-too-late", "storage/sql/history.sql",
        "WHERE run_id = :run_id AND seq > :after ORDER", "WHERE run_id = :run_id AND seq > :after + (:after > 1) ORDER",
        "test_server_kills.py::test_a_reader_sees_each_event_once_and_in_order_across_kills",
    ),
    Mutant(
        "broken-connection-unnoticed", "service/sessions.py",
        "            over = min(over, self.broke_ms + disconnect_ms)", "            over = over",
        "test_worker_kills.py::test_every_run_of_a_killed_worker_is_finished_by_another",
    ),
    Mutant(
        "no-fence", "service/reporting.py",
        "if run is None or run.epoch != report.epoch or run.worker_id != worker_id:", "if run is None:",
        "test_worker_kills.py::test_every_late_report_is_refused_and_changes_nothing",
    ),
    Mutant(
        "fence-by-worker-only", "service/reporting.py",
        "run.epoch != report.epoch or run.worker_id != worker_id", "run.worker_id != worker_id",
        "test_worker_kills.py::test_every_late_report_is_refused_and_changes_nothing",
    ),
    Mutant(
        "lease-never-lapses", "service/sessions.py",
        "        over = max(self.heard_ms, since_ms) + lease_ms\n",
        "        over = max(self.heard_ms, since_ms) + lease_ms * 3\n",
        "test_worker_kills.py::test_a_paused_worker_loses_its_run_and_changes_nothing_when_it_wakes",
    ),
    Mutant(
        "released-counts", "engine/lifecycle.py",
        "attempt=run.attempt - (run.worker_id is not None)", "attempt=run.attempt",
        "test_worker_kills.py::test_a_worker_told_to_go_hands_its_run_back_and_the_attempt_does_not_count",
    ),
    Mutant(
        "step-failures-not-kept", "service/reporting.py",
        "        unit.add_step(run.id, name, value)\n        line = {", "        line = {",
        "test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[1500ms-sqlite]",
    ),
    Mutant(
        "step-failures-counted-by-attempt", "worker/context/journal.py",
        '        while self.has(f"{STEP_FAILURE}{step}:{number + 1}"):', "        while False:",
        "test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[2500ms-sqlite]",
    ),
    Mutant(
        "retry-takes-failures-over", "storage/sql/history.sql",
        "NOT IN ('step-failure:', 'continued-by:')", "NOT IN ('continued-by:')",
        "test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[2500ms-sqlite]",
    ),
    Mutant(
        "retry-finds-no-steps", "service/claiming.py",
        "run.seq > 2 or run.previous_id is not None", "run.seq > 2",
        "tests/service/test_continuing.py::test_a_retry_has_the_steps_of_the_run_that_it_repeats[sqlite]",
    ),
    Mutant(
        "retry-orphans-its-children", "service/continuing.py",
        '    unit.later("adopt_run"', '    (lambda *_, **__: None)("adopt_run"',
        "tests/service/test_continuing.py::test_children_that_have_not_ended_are_stopped_with_the_retry[sqlite]",
    ),
    Mutant(
        "retry-takes-children-from-another", "service/continuing.py",
        "child.state not in FINAL and child.parent_id != run.id:", "child.state not in FINAL and False:",
        "tests/service/test_continuing.py::test_a_child_that_one_retry_has_is_not_taken_from_it_by_another[sqlite]",
    ),
    Mutant(
        "children-outlive", "worker/executors/process/program.py",
        "    die_with(parent)\n", "",
        "test_worker_kills.py::test_the_children_of_a_killed_worker_die_with_it",
        ("        os._exit(0)\n", "        threading.Event().wait()\n"),
    ),
    Mutant(
        "stop-not-pushed", "service/sessions.py",
        "            session.messages.append(message)\n            session.wake.set()\n", "            pass\n",
        "test_stopping.py::test_running_code_hears_within_two_seconds_that_it_is_to_stop",
    ),
    Mutant(
        "never-killed", "worker/watchdog.py",
        "            attempt.kill()\n", "            pass\n",
        "test_stopping.py::test_code_that_does_not_listen_is_killed_after_its_grace",
    ),
    Mutant(
        "stubborn-threads-are-let-be", "worker/watchdog.py",
        "            self.exit_code = RESTART_CODE\n", "            self._stubborn.clear()\n",
        "test_stopping.py::test_a_thread_that_does_not_listen_ends_with_its_worker_once_the_others_are_finished[sqlite]",
    ),
    Mutant(
        "claims-what-it-cannot-begin", "worker/attempts/running.py",
        "for executor, room in rooms.items() if room < most}", "for executor, room in rooms.items() if room > most}",
        "test_rooms.py::test_no_more_runs_are_leased_than_there_are_children_and_an_urgent_one_is_next[sqlite]",
    ),
    Mutant(
        "poison-retried-for-ever", "engine/lifecycle.py",
        "    if crashes >= task.max_crashes:", "    if crashes >= 1_000:",
        "test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-leaves]",
    ),
    Mutant(
        "crashed-runs-not-set-apart", "worker/attempts/running.py",
        "if lease.crashes and not attempt.killable:", "if False:",
        "test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-segfault]",
    ),
    Mutant(
        "memory-not-limited", "worker/executors/process/program.py",
        "            if limit is not None:", "            if False:",
        "test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-eats-memory]",
    ),
    Mutant(
        "output-not-throttled", "worker/processes/stdio.py",
        "        room = self._limit - self._passed", "        room = 1 << 40",
        "test_poison.py::test_a_task_that_prints_without_end_is_heard_in_part_and_finishes",
    ),
    Mutant(
        "heartbeats-from-the-loop", "worker/protocol/heartbeat.py",
        "        session, attempts = self._session, self._attempts\n        worker_id, sent_ms",
        "        session, attempts = self._session, self._attempts\n        import threading as t\n        heard = t.Event()\n"
        "        attempts.loop.call_soon_threadsafe(heard.set)\n        heard.wait()\n        worker_id, sent_ms",
        "test_poison.py::test_a_function_that_blocks_the_loop_beyond_the_lease_keeps_its_lease",
    ),
    Mutant(
        "grandchildren-survive", "worker/executors/process/pool.py",
        "            os.killpg(self.process.pid, signal.SIGKILL)", "            pass",
        "test_poison.py::test_a_fork_bomb_leaves_no_processes_behind",
    ),
    Mutant(
        "waits-for-a-dead-child", "worker/executors/frames.py",
        "if not wait and not self._readable():", "if False:",
        "tests/worker/test_process.py::test_who_does_not_wait_hears_at_once_that_nothing_has_come",
    ),
    Mutant(
        "neighbours-not-handed-back", "worker/watchdog.py",
        "            self._stubborn[attempt.key] = outcome", "            self._finish(RESTART_CODE)",
        "test_poison.py::test_a_deaf_task_is_given_up_and_the_runs_beside_it_are_not_counted_as_crashed",
    ),
    Mutant(
        "exit-without-drain", "http/server.py",
        "        self._soon(self.asked_to_stop.set)",
        "        self.should_exit = self.force_exit = True",
        "test_drain.py::test_clients_notice_nothing_of_a_rolling_restart[sqlite]",
    ),
    Mutant(
        "stream-resumes-one-too-late-3", "storage/sql/history.sql",
        "WHERE run_id = :run_id AND seq > :after ORDER", "WHERE run_id = :run_id AND seq > :after + (:after > 1) ORDER",
        "test_drain.py::test_open_streams_do_not_hold_up_the_end_and_resume[sqlite]",
    ),
    Mutant(
        "drained-comes-back", "worker/processes/supervisor.py",
        "                return\n            lived_s", "                pass\n            lived_s",
        "test_drain.py::test_a_local_worker_that_is_drained_does_not_come_back_and_its_end_is_no_warning[sqlite]",
    ),
    Mutant(
        "asked-is-ordered", "worker/watchdog.py",
        "        self._asked = True\n", "        self._asked, self._at_once = True, self._ordered\n",
        "test_drain.py::test_a_draining_server_goes_on_answering_while_a_run_takes_its_time",
    ),
    Mutant(
        "own-worker-spins", "actions/executor.py",
        "        while not (session.draining or session.over or self._service.workers.draining):", "        while True:",
        "test_drain.py::test_the_servers_own_worker_does_not_hold_it_up_when_it_is_told_to_drain",
    ),
    Mutant(
        "claims-while-draining", "service/workers.py",
        "        if self.draining:\n", "        if False:\n",
        "test_drain.py::test_a_draining_server_starts_nothing_more_and_says_that_it_is_not_ready",
        (" or self.draining)", ")"),
    ),
    Mutant(
        "streams-held-open", "http/server.py",
        "        api.drain()\n", "        pass\n",
        "test_drain.py::test_open_streams_and_long_polls_do_not_delay_the_end",
        ("        self._api.close()\n", "        pass\n"),
    ),
    Mutant(
        "cut-off-is-an-error", "http/asgi.py",
        "            if not self.closing or call.status:\n", "            if self.closing:\n",
        OUTAGES + "test_a_start_that_a_server_cannot_finish_before_its_end_is_made_once_at_the_other",
    ),
    Mutant(
        "queue-reset", "http/server.py",
        "        for _ in range(TAKING_TURNS):\n            await asyncio.sleep(0)\n", "",
        ENDS + "test_who_has_connected_and_asked_when_the_server_goes_is_answered",
    ),
    Mutant(
        "closed-before-it-was-asked", "http/protocol.py",
        "        if self.cycle is None or self._head_bytes >= 0 or self._rest_timer is not None:", "        if False:",
        ENDS + "test_who_has_connected_and_asks_a_moment_later_is_answered_when_the_server_goes",
    ),
    Mutant(
        "kept-alive-while-draining", "http/protocol.py",
        "            self.cycle.keep_alive = False\n", "            pass\n",
        ENDS + "test_a_server_that_drains_closes_each_connection_with_its_answer",
    ),
    Mutant(
        "connections-left-open", "http/server.py",
        "            connection.transport.abort()", "            pass",
        ENDS + "test_no_connection_outlasts_the_server",
    ),
    Mutant(
        "versions-changed-without-a-key", "client/sync/caller.py",
        '        sent = {"Idempotency-Key": encoding.new_key(), **(headers or {})}\n        return decode(self.send("PATCH"',
        '        sent = headers\n        return decode(self.send("PATCH"',
        CLIENT + "test_a_change_of_a_version_has_one_key_for_all_tries",
    ),
    Mutant(
        "deleted-is-not-found", "client/sync/caller.py",
        "            except (Gone, NotFound):", "            except Gone:",
        CLIENT + "test_a_delete_of_what_leaves_no_trace_has_happened_if_its_first_answer_was_lost",
    ),
    Mutant(
        "gives-up-soon", "config.py",
        "RETRIES: Final = 7", "RETRIES: Final = 5",
        CLIENT + "test_a_server_that_is_away_for_six_seconds_is_waited_for",
    ),
    Mutant(
        "tokens-without-a-key", "service/runs.py",
        "        return await self._change(run_id, work, request, anyones=True)", "        return await self._change(run_id, work, anyones=True)",
        "tests/http/test_worker_protocol.py::test_a_token_completes_the_wait_once",
    ),
    Mutant(
        "records-patched-without-a-key", "http/tables.py",
        '["table"], [change], request)', '["table"], [change])',
        "tests/http/test_tables.py::test_a_change_of_a_records_version_can_be_repeated_under_its_key",
    ),
    Mutant(
        "synchronous-normal", "storage/sqlite/connection.py",
        "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
        "test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "synchronous-normal-2", "storage/sqlite/connection.py",
        "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
        "test_power.py::test_nothing_acknowledged_is_lost_when_the_power_is_cut",
    ),
    Mutant(
        "synchronous-normal-3", "storage/sqlite/connection.py",
        "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
        "test_power.py::test_what_was_acknowledged_before_the_power_went_is_there_though_the_server_lived_on[ext4-30]",
        long=True,
    ),
    Mutant(
        "postgres-does-not-wait-for-the-disk-2", "storage/postgres/connection.py",
        '            self._connection.execute("BEGIN")\n',
        '            self._connection.execute("BEGIN")\n            self._connection.execute("SET LOCAL synchronous_commit = off")\n',
        "test_power.py::test_nothing_acknowledged_is_lost_when_the_database_loses_its_power[ext4-30]", long=True,
    ),
    Mutant(
        "claims-before-it-listens", "worker/protocol/claimer.py",
        "        self._listens.wait(LISTENS_S)\n", "",
        "tests/worker/test_worker.py::test_nothing_is_claimed_before_the_server_would_notice_the_workers_end_at_once",
    ),
    Mutant(
        "woken-is-told", "service/history.py",
        "        self._changed.clear()\n", "        self._changed.clear()\n        self.told()\n",
        "tests/service/test_watching.py::test_who_is_woken_for_nothing_again_and_again_still_says_that_it_lives",
    ),
    Mutant(
        "who-has-left-is-still-known", "http/patience.py",
        "            self._waiting.discard(self)\n", "            pass\n",
        "test_soak.py::test_nothing_that_is_over_is_held_on_to[sqlite]", long=True,
    ),
    Mutant(
        "leases-by-the-wall-clock", "clock.py",
        "time.clock_gettime_ns(STEADY)", "time.time_ns()",
        "test_clock.py::test_a_clock_that_jumps_an_hour_and_back_takes_no_lease_and_loses_no_run",
    ),
    Mutant(
        "leases-by-the-wall-clock-2", "clock.py",
        "time.clock_gettime_ns(STEADY)", "time.time_ns()",
        "test_clock.py::test_a_worker_whose_clock_is_wrong_and_jumps_keeps_its_lease_and_ends_its_runs_once",
    ),
    Mutant(
        "clock-is-set-unnoticed", "loops/timekeeper.py",
        "            self._wake()\n", "            pass\n",
        "test_clock.py::test_what_a_jump_makes_due_begins_by_itself_within_seconds[+1h-sqlite]", long=True,
    ),
    Mutant(
        "pause-held-against-workers", "service/listening.py",
        "if self._good_until_ms is not None and now_ms > self._good_until_ms:", "if False:",
        "test_pauses.py::test_a_server_that_stood_still_three_times_counts_no_crash_and_fails_no_run[sqlite]",
    ),
    Mutant(
        "pause-held-against-workers-2", "service/listening.py",
        "if self._good_until_ms is not None and now_ms > self._good_until_ms:", "if False:",
        "test_pauses.py::test_what_is_claimed_when_a_server_wakes_is_executed_once[sqlite]",
    ),
    Mutant(
        "pause-held-against-servers", "service/servers.py",
        "min(self._look_ms - before_ms, LOOK_MAX_MS)", "self._look_ms - before_ms",
        "test_pauses.py::test_servers_on_one_database_take_nothing_from_who_was_not_heard_while_they_stood_still[both]",
    ),
    Mutant(
        "still-is-dead", "service/servers.py",
        "session.kept_silent = worker_id in still", "session.kept_silent = False",
        "test_pauses.py::test_a_run_of_a_worker_that_knows_only_a_server_which_stands_still_has_not_crashed",
    ),
    Mutant(
        "deaf-workers-keep-their-leases", "service/workers.py",
        "if asked.claiming is not None and self._sessions.misses_answers(session, asked.heard):", "if False:",
        "test_partitions.py::test_a_worker_that_is_cut_off_one_way_loses_its_run_to_one_that_is_not[back-sqlite]",
    ),
    Mutant(
        "answered-before-commit", "storage/writer.py",
        "            command.result = command.apply(unit)\n",
        "            command.result = command.apply(unit)\n            if self._loop:\n"
        "                self._loop.call_soon_threadsafe(command.settle)\n",
        "test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "one-commit-a-command-2", "storage/writer.py",
        "        while todo and ", "        while todo and not batch and ",
        "test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else",
    ),
    Mutant(
        "one-commit-a-command-3", "storage/writer.py",
        "        while todo and ", "        while todo and not batch and ",
        "test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else[60-4-postgres]",
    ),
    Mutant(
        "each-sign-of-life-is-written-down", "service/workers.py",
        "NOTED_EVERY_MS: Final = 60_000", "NOTED_EVERY_MS: Final = 0",
        "test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else",
        also=("        self._note(session)\n", "        self._note(session)\n        await self._store.write(lambda unit: None)\n"),
    ),
    Mutant(
        "stream-resumes-one-too-late-2", "http/sse.py",
        '        return number(last, "Last-Event-ID")\n',
        '        seen = number(last, "Last-Event-ID")\n        return seen + (seen > 0)\n',
        "test_streams.py::test_every_stream_is_resumed_without_gap_or_repetition_when_the_server_is_killed",
    ),
    Mutant(
        "never-cut", "http/protocol.py",
        "self.loop.call_later(STUCK_SECONDS, self.transport.abort)", "self.loop.call_later(STUCK_SECONDS, lambda: None)",
        "test_streams.py::test_who_does_not_read_is_cut_off_and_finds_everything_when_it_comes_back", long=True,
    ),
    Mutant(
        "lease-never-lapses-2", "service/sessions.py",
        "        over = max(self.heard_ms, since_ms) + lease_ms\n",
        "        over = max(self.heard_ms, since_ms) + lease_ms * 100\n",
        "test_partitions.py::test_a_worker_that_is_cut_off_is_fenced_and_nothing_is_stuck_when_it_is_back",
        ("            over = min(over, self.broke_ms + disconnect_ms)", "            over = over"),
    ),
    Mutant(
        "outage-is-an-internal-error-2", "storage/writer.py",
        "                return failed + _fail(batch, StorageUnavailable()), None",
        "                return failed + _fail(batch, error), None",
        "test_partitions.py::test_a_server_that_is_cut_off_its_database_loses_nothing_and_the_other_goes_on",
    ),
    Mutant(
        "everybody-let-in", "http/crowd.py",
        "        return self.inside + self.expected >= self.limit", "        return False",
        "test_overload.py::test_what_is_accepted_is_done_and_the_rest_is_refused_at_once[sqlite-times0-5]",
    ),
    Mutant(
        "crowd-comes-in-to-be-refused", "http/protocol.py",
        "        if door is not None and door.crowd.pressed and", "        if False and",
        "test_overload.py::test_what_is_accepted_is_done_and_the_rest_is_refused_at_once[sqlite-times0-5]",
    ),
    Mutant(
        "one-commit-a-command", "storage/writer.py",
        "        while todo and ", "        while todo and not batch and ",
        "test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "sync-tried-again", "storage/sqlite/connection.py",
        "    if isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError)):", "    if False:",
        "test_disk.py::test_a_sync_that_fails_ends_the_server_and_nothing_is_acknowledged_after",
    ),
    Mutant(
        "reserve-kept", "storage/store.py",
        "self._reserve.release()", "pass",
        "test_disk.py::test_a_full_disk_refuses_new_runs_lets_old_ones_end_and_heals",
    ),
    Mutant(
        "does-not-heal", "storage/store.py",
        "                self.writer.full = False", "                pass",
        "test_disk.py::test_a_full_disk_refuses_new_runs_lets_old_ones_end_and_heals",
    ),
    Mutant(
        "a-databases-full-disk-is-an-outage", "storage/postgres/connection.py",
        "        case errors.DiskFull():\n", "        case ZeroDivisionError():\n",
        "test_disk.py::test_a_database_whose_disk_is_full_takes_no_runs_loses_none_and_heals",
    ),
    Mutant(
        "damage-not-explained", "storage/sqlite/open.py",
        "            raise StorageBroken(why(path, error)) from error", "            raise",
        "test_disk.py::test_a_damaged_file_is_refused_with_what_to_do",
    ),
    Mutant(
        "lost-race-counts", "service/reporting.py",
        "if run is None or run.epoch != report.epoch or run.worker_id != worker_id:", "if run is None:",
        "test_races.py::test_a_run_that_is_stopped_finished_and_lost_at_once_ends_once",
    ),
    Mutant(
        "stopped-result-counts", "service/reporting.py",
        "as its outcome: the stop was durable first.\n        raise RunStopping\n", "\n        return\n",
        "test_races.py::test_a_result_that_comes_after_an_acknowledged_stop_does_not_count",
    ),
    Mutant(
        "simulated-no-fence", "service/reporting.py",
        "if run is None or run.epoch != report.epoch or run.worker_id != worker_id:", "if run is None:", SIMULATED,
    ),
    Mutant(
        "simulated-fence-by-worker-only", "service/reporting.py",
        "run.epoch != report.epoch or run.worker_id != worker_id", "run.worker_id != worker_id", SIMULATED,
    ),
    Mutant(
        "keys-outside-the-transaction", "service/idempotency.py",
        "    known = unit.reply(key)\n",
        '    kept = unit.catalog.__dict__.setdefault("kept", {})\n    known = kept.get(key)\n', SIMULATED,
        ("    unit.remember(key, request.fingerprint, _encode(lines).decode(), unit.now_ms + request.keep_ms)\n",
         "    kept[key] = (request.fingerprint, _encode(lines).decode())\n"),
    ),
    Mutant(
        "copies-before-the-commit", "storage/unit.py",
        "        self._runs[run_id] = self._kept[run_id] = run\n",
        "        self._runs[run_id] = self._kept[run_id] = self._cache[run_id] = run\n", SIMULATED,
    ),
    Mutant(
        "lapse-brings-nothing-back", "service/workers.py",
        'while found := unit.find("find_leased", worker_id=session.worker_id, limit=1000):', "while found := list[Run]():",
        SIMULATED, ("from headway.model.run import State", "from headway.model.run import Run, State"),
    ),
    Mutant(
        "stager-skips-the-first", "loops/stager.py",
        "        for run in due:\n", "        for run in due[1:]:\n", SIMULATED,
    ),
    Mutant(
        "stager-not-told", "storage/writer.py",
        "        if gone or done or committed is not None:", "        if gone or done:",
        "tests/service/test_claiming.py::test_the_stager_hears_when_a_run_is_due_that_a_waiting_claim_has_parked",
    ),
    Mutant(
        "left-meanwhile", "storage/writer.py",
        "        self._patient = patient\n", "        self._patient = [one for one in patient if not one.cancelled]\n",
        "tests/storage/test_writer.py::test_who_leaves_while_another_is_let_go_is_let_go_too",
    ),
    Mutant(
        "child-started-again", "service/reporting.py",
        "        known = unit.step(run.id, report.name)\n", "        known = None\n", SIMULATED,
    ),
    Mutant(
        "waiting-counts-as-an-attempt", "engine/lifecycle.py",
        "attempt=run.attempt - (run.worker_id is not None)", "attempt=run.attempt", SIMULATED,
    ),
    Mutant(
        "answered-before-the-commit", "storage/writer.py",
        "            command.result = command.apply(unit)\n",
        "            command.result = command.apply(unit)\n            command.settle()\n", SIMULATED,
    ),
    Mutant(
        "limits-of-keys-forgotten", "engine/admission.py",
        "            return PARKED\n", "            return None\n", SIMULATED,
    ),
    Mutant(
        "slots-not-passed-on", "service/service.py",
        "            writer.after_freed = (unpark_freed,)\n", "", SIMULATED,
    ),
    Mutant(
        "simulated-lost-claims-kept", "service/workers.py",
        "        if undelivered:\n", "        if False:\n", SIMULATED,
    ),
    Mutant(
        "simulated-two-heartbeats-decide", "service/sessions.py",
        "        if claiming is None:\n            lost = [", "        if True:\n            lost = [", SIMULATED,
        ("if now_ms - since_ms >= lease_ms]", "if lease in before]"),
    ),
    Mutant(
        "simulated-all-claims-wait-here", "service/sessions.py",
        "self._waiting.issuperset(claiming)", "True", SIMULATED,
    ),
    Mutant(
        "versions-not-compared", "service/runs.py",
        "if version is not None and run.version != version:", "if False:", SIMULATED,
    ),
    Mutant(
        "workers-forgotten-at-a-restart", "service/workers.py",
        "            self._sessions.open(worker_id)  # also one", "            pass  # also one", SIMULATED,
        ('            if worker.state != "gone":\n', "            if False:\n"),
    ),
    Mutant(
        "protection-not-kept", "service/verbs.py",
        "    if run.protected:\n", "    if False:\n", SIMULATED,
    ),
    Mutant(
        "stale-reads", "storage/reader.py",
        '        rows = await self._rows("read_run", id=run_id)\n',
        '        old = self.__dict__.setdefault("old", {})\n'
        '        rows = old.pop(run_id, None) or old.setdefault(run_id, self.near.rows("read_run", id=run_id))\n',
        LINEARIZED + "test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills",
    ),
    Mutant(
        "updates-lost", "service/runs.py",
        "if version is not None and run.version != version:", "if version is not None and version > run.version:",
        LINEARIZED + "test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills",
    ),
    Mutant(
        "stale-reads-2", "storage/reader.py",
        '        rows = await self._rows("read_run", id=run_id)\n',
        '        old = self.__dict__.setdefault("old", {})\n'
        '        rows = old.pop(run_id, None) or old.setdefault(run_id, await self._rows("read_run", id=run_id))\n',
        LINEARIZED + "test_it_is_one_order_whichever_of_two_servers_they_ask",
    ),
    Mutant(
        "postgres-does-not-wait-for-the-disk", "storage/postgres/connection.py",
        '            self._connection.execute("BEGIN")\n',
        '            self._connection.execute("BEGIN")\n            self._connection.execute("SET LOCAL synchronous_commit = off")\n',
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_the_database_is_killed",
    ),
    Mutant(
        "commits-not-held-to-the-standby", "storage/postgres/connection.py",
        '            self._connection.execute("BEGIN")\n',
        '            self._connection.execute("BEGIN")\n            self._connection.execute("SET LOCAL synchronous_commit = local")\n',
        "tests/servers/test_patroni.py::test_what_was_acknowledged_is_there_when_patroni_has_replaced_a_primary_that_was_killed",
        long=True,
    ),
    Mutant(
        "repetitions-told-what-the-standby-has-not", "storage/postgres/connection.py",
        "            self._confirm()\n", '            self._unsure = ""\n',
        "tests/servers/test_standby.py::test_a_repetition_is_not_told_of_a_run_that_the_standby_may_not_have",
    ),
    Mutant(
        "local-commits-are-good-enough", "storage/postgres/open.py",
        'if shown("synchronous_commit") == "local" and', 'if shown("synchronous_commit") == "remote" and',
        "tests/storage/test_opening_on_postgres.py::"
        "test_a_database_that_may_lose_what_it_confirms_is_refused_unless_that_is_accepted",
    ),
    Mutant(
        "postgres-answered-before-the-commit", "storage/writer.py",
        "            unit.seal()\n",
        "            unit.seal()\n            for command in done:\n"
        "                if self._loop and command.grows:\n                    self._loop.call_soon_threadsafe(command.settle)\n"
        "            threading.Event().wait(0.2)\n",
        "test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all[writer.before_commit-start-postgres]",
    ),
    Mutant(
        "postgres-lost-races-unnoticed", "storage/postgres/connection.py",
        "            if cursor.rowcount != count:", "            if False:",
        SHARED + "test_one_idempotency_key_at_two_servers_starts_one_run",
    ),
    Mutant(
        "reports-wait-for-starts", "storage/store.py",
        "self.writers[-1] if command.trusts else self.writer", "self.writer",
        WRITERS + "test_a_report_does_not_wait_for_what_the_other_writer_does",
    ),
    Mutant(
        "writers-share-their-counters", "storage/writer.py",
        "shard = -self._catalog.shard if self._second else None", "shard = None",
        WRITERS + "test_the_counters_of_one_writer_are_no_lock_for_the_other",
    ),
    Mutant(
        "reports-wake-no-claims", "storage/store.py",
        "            self.writer.expect(committed.lanes)", "            pass",
        WRITERS + "test_a_report_that_queues_its_run_again_wakes_the_claims_that_wait",
    ),
    Mutant(
        "counted-in-the-middle-of-a-commit", "storage/catalog.py",
        "if self._commits == before and not self._committing:", "if True:",
        WRITERS + "test_counters_that_are_read_while_the_other_writer_commits_are_read_again",
    ),
    Mutant(
        "copies-that-are-old-are-kept", "storage/writer.py",
        "                tries += 1\n                self._cache.clear()\n", "                tries += 1\n",
        WRITERS + "test_a_copy_that_has_become_old_is_read_again",
    ),
    Mutant(
        "limits-without-a-turn", "storage/unit.py",
        '            self.database.rows("lock_fact", name="limits")\n', "            pass\n",
        SHARED + "test_claims_under_a_limit_wait_for_the_server_that_is_counting",
    ),
    Mutant(
        "lapses-though-another-hears", "service/workers.py",
        '                    if heard_by not in (None, self._server_id) and state != "gone":', "                    if False:",
        SHARED + "test_a_worker_that_moves_to_another_server_keeps_its_leases",
    ),
    Mutant(
        "workers-of-a-dead-server-not-heard", "service/servers.py",
        '        unit.database.run("adopt_workers", server_id=peers.server_id)\n', "",
        SHARED + "test_the_runs_of_a_dead_worker_of_a_dead_server_come_back",
    ),
    Mutant(
        "told-run-by-run", "storage/peers.py",
        "        return messages(\n            self.server_id, unit.changed, unit.left, stops, catalog=catalog, slot_at=unit.slot_at, access=unit.access\n        )\n",
        "        return [text for run in unit.changed for text in messages(self.server_id, [run], unit.left, stops, slot_at=unit.slot_at)]\n",
        SHARED + "test_what_a_batch_of_starts_has_changed_is_told_once",
    ),
    Mutant(
        "others-not-told", "storage/peers.py",
        "        return messages(", "        return [] and messages(",
        SHARED + "test_a_run_that_one_server_starts_goes_to_a_worker_that_waits_at_the_other",
    ),
    Mutant(
        "waiting-commands-lost-in-an-outage", "storage/writer.py",
        "            self._answer(_fail(self._take_all(), StorageUnavailable()) + self._drop_cancelled(), None)\n",
        "            refused, self._todo = _fail([*self._todo], StorageUnavailable()), deque()\n"
        "            self._answer(refused + self._drop_cancelled(), None)\n",
        WRITING + "test_what_has_passed_the_gate_before_an_outage_is_carried_out_after_it",
    ),
    Mutant(
        "writer-stops-asking-silently", "storage/writer.py",
        "            self._break(error)\n        self._answer([*self._patient], None)\n",
        "            self._answer([*self._patient], None)\n",
        WRITING + "test_a_writer_that_fails_answers_all_who_wait_and_says_so",
    ),
    Mutant(
        "one-answer-keeps-back-the-others", "storage/command.py",
        "        if isinstance(self.failure, StopIteration):", "        if False:",
        WRITING + "test_whatever_a_command_raises_it_is_answered_and_so_are_those_after_it",
    ),
    Mutant(
        "loop-ends-with-what-it-waited-for", "loops/loop.py",
        "            if task is None or task.cancelling():", "            if True:",
        LOOPS + "test_a_loop_goes_on_whatever_a_tick_comes_to",
    ),
    Mutant(
        "loop-ends-by-its-own-fault", "loops/loop.py",
        "        self._task.add_done_callback(self._ended)\n", "",
        LOOPS + "test_a_loop_goes_on_whatever_a_tick_comes_to",
    ),
    Mutant(
        "stopped-loop-begins-again", "loops/loop.py",
        "        if not self._stopped:\n            self.start()", "        self.start()",
        LOOPS + "test_a_loop_that_is_stopped_between_two_lives_does_not_begin_again",
    ),
    Mutant(
        "pulse-backs-off-for-a-minute", "loops/loop.py",
        "back_off = min(back_off * 2, self._back_off_max_s)", "back_off = min(back_off * 2, 60.0)",
        LOOPS + "test_after_failures_a_loop_waits_no_longer_than_it_may",
    ),
    Mutant(
        "silent-database-waited-for", "storage/postgres/connection.py",
        "        if self.answer_within_s is None:", "        if True:",
        SILENT + "test_nobody_waits_for_ever_for_a_database_that_stands_still",
    ),
    Mutant(
        "listens-where-nobody-speaks", "storage/postgres/listener.py",
        "either.select(LOOK_S)", "either.select()",
        SILENT + "test_who_listens_notices_that_nobody_speaks_any_more",
    ),
    Mutant(
        "ears-closed-by-any-failure", "storage/postgres/listener.py",
        "            except Exception:  # nobody else", "            except KeyError:  # nobody else",
        SILENT + "test_who_listens_tries_on_whatever_goes_wrong",
    ),
    Mutant(
        "ready-without-a-sign-of-life", "app/serving.py",
        "        if service.servers.silent_ms > SILENT_MS:", "        if False:",
        SHARED + "test_a_server_that_gives_no_sign_of_life_is_not_ready",
    ),
    Mutant(
        "pulse-counts-nothing", "service/servers.py",
        "            unit.catalog.recount(unit.database)\n", "            pass\n",
        SHARED + "test_a_sign_of_life_that_fails_anywhere_is_given_the_next_time_with_all_that_belongs_to_it",
    ),
    Mutant(
        "counts-below-zero", "storage/catalog.py",
        "self.counts.items() if n > 0]", "self.counts.items() if n]",
        SHARED + "test_no_count_is_shown_below_zero_though_others_runs_are_taken_before_they_are_counted",
    ),
    Mutant(
        "pulse-wakes-nobody", "service/servers.py",
        "        await self._wake()\n", "",
        SHARED + "test_what_is_not_heard_is_found_at_the_next_sign_of_life",
    ),
    Mutant(
        "watch-ends-with-the-database", "service/history.py",
        "                except Unavailable:", "                except ZeroDivisionError:",
        SHARED + "test_who_watches_or_waits_goes_on_when_nothing_could_be_read_for_a_while",
    ),
    Mutant(
        "wait-ends-with-the-database", "service/runs.py",
        "                        except Unavailable:", "                        except ZeroDivisionError:",
        SHARED + "test_who_watches_or_waits_goes_on_when_nothing_could_be_read_for_a_while",
    ),
    Mutant(
        "watch-tells-again-after-an-outage", "service/history.py",
        "                            seen = event.seq\n", "                            seen = event.seq - 1\n",
        OUTAGES + "test_nothing_is_lost_when_all_connections_are_cut_again_and_again",
    ),
    Mutant(
        "outage-counts-as-silence", "service/service.py",
        "        store.on_regained = self.sessions.excuse\n", "",
        SHARED + "test_nobody_lapses_because_there_was_no_database_to_report_to",
    ),
    Mutant(
        "refused-lapse-is-for-ever", "service/workers.py",
        "            session.over = False\n", "",
        SHARED + "test_a_worker_whose_end_could_not_be_written_goes_on_when_it_is_heard_again",
    ),
    Mutant(
        "outage-is-an-internal-error", "storage/writer.py",
        "                return failed + _fail(batch, StorageUnavailable()), None",
        "                return failed + _fail(batch, error), None",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_the_database_is_killed",
    ),
    Mutant(
        "failed-commit-is-acknowledged", "storage/writer.py",
        "                return failed + _fail(batch, StorageUnavailable()), None", "                return failed + batch, None",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_a_sync_of_the_database_fails",
    ),
    Mutant(
        "asks-again-though-not-let-in", "app/opening.py",
        "    except NotLetIn as error:", "    except ZeroDivisionError as error:",
        OUTAGES + "test_a_server_that_is_not_let_in_says_why_and_does_not_wait",
    ),
    Mutant(
        "postgres-answered-before-the-commit-2", "storage/writer.py",
        "                database.commit(self._tell(unit))\n",
        "                for command in done:\n"
        "                    if self._loop and command.grows:\n                        self._loop.call_soon_threadsafe(command.settle)\n"
        "                threading.Event().wait(0.2)\n                database.commit(self._tell(unit))\n",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_one_of_two_servers_is_killed",
    ),
    Mutant(
        "database-has-to-be-there-first", "app/opening.py",
        "        return await _when_reachable(settings, sockets, tls, open_it, str(error))",
        "        raise StoreRefused(str(error)) from error",
        OUTAGES + "test_a_server_that_comes_before_its_database_waits_and_serves_as_soon_as_it_is_there",
    ),
    Mutant(
        "waits-though-told-to-end", "app/opening.py",
        "        while not answering.done():", "        while True:",
        OUTAGES + "test_a_server_that_waits_for_its_database_ends_at_once_when_it_is_told_to",
        ("(open_it) if not stop.is_set() else None", "(open_it)"),
    ),
    Mutant(
        "waits-for-a-word-for-ever", "storage/postgres/connection.py",
        "            make_conninfo(url, **{name: text for name, text in _DEFAULTS.items() if name not in asked}),",
        '            make_conninfo(url, **_DEFAULTS | {"connect_timeout": "0"}),',
        OUTAGES + "test_a_server_whose_database_says_nothing_ends_when_it_is_told_to",
    ),
    Mutant(
        "asks-again-though-not-let-in-2", "app/opening.py",
        "            except NotLetIn as error:", "            except ZeroDivisionError as error:",
        OUTAGES + "test_a_server_that_has_waited_and_is_then_not_let_in_says_why_and_ends",
    ),
    Mutant(
        "waits-until-somebody-makes-the-database", "storage/postgres/trouble.py",
        "        return NotLetIn(f'{where} has no database", "        return DatabaseGone(f'{where} has no database",
        OUTAGES + "test_a_server_whose_database_does_not_exist_says_how_to_make_it",
    ),
    Mutant(
        "store-of-the-future-is-used", "storage/postgres/migrate.py",
        "            if max(done, default=0) > known[-1][0]:", "            if False:",
        OUTAGES + "test_a_server_that_is_older_than_its_store_says_so",
    ),
    Mutant(
        "stays-with-the-host-that-was-the-primary", "storage/postgres/connection.py",
        "        self._connection = self._connected()\n        self._transaction:",
        "        self._connection = self._connected()\n"
        "        self._url = make_conninfo(url, host=self._connection.info.host, port=self._connection.info.port)\n"
        "        self._transaction:",
        OUTAGES + "test_what_was_acknowledged_is_at_the_standby_when_the_primary_is_killed",
    ),
    Mutant(
        "wait-for-the-standby-that-was-ended-is-a-commit", "storage/postgres/connection.py",
        "        if self._unsure:  # somebody has ended", "        if False:  # somebody has ended",
        "tests/servers/test_standby.py::test_a_commit_whose_wait_for_the_standby_was_ended_is_not_acknowledged",
    ),
    Mutant(
        "clients-stay-where-nobody-is", "client/servers.py",
        "            self._at = (self._at + 1) % len(self._each)\n", "",
        OUTAGES + "test_clients_that_know_both_servers_notice_nothing_when_both_are_restarted_in_turn",
    ),
    Mutant(
        "others-runs-are-shown", "service/runs.py",
        "        if run is None or run.organisation != self._organisation:\n", "        if run is None:\n",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-get-running]",
    ),
    Mutant(
        "others-runs-are-changed", "service/runs.py",
        "if run is None or not (anyones or run.organisation == space.organisation):", "if run is None:",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-suspend-running]",
    ),
    Mutant(
        "others-tombstones-are-read", "service/runs.py",
        "if stone is None or stone.organisation != self._organisation:", "if stone is None:",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-get-removed]",
    ),
    Mutant(
        "request-keys-of-all", "service/idempotency.py",
        "    key = space.inside(request.key)\n", "    key = request.key\n",
        OTHERS + "test_the_same_names_in_two_organisations_never_meet",
        ("(space.inside(request.key),)", "(request.key,)"),
    ),
    Mutant(
        "families-of-all", "storage/lists.py",
        '_BESIDE: Final = "@beside(organisation) = :organisation"', '_BESIDE: Final = ":organisation > 0"',
        OTHERS + "test_a_family_of_another_is_no_family",
    ),
    Mutant(
        "feed-of-all", "storage/reader.py",
        "if owners.get(row[1]) == organisation]", "if owners.get(row[1])]",
        OTHERS + "test_the_feed_has_ones_own_events_and_its_cursor_passes_those_of_others",
    ),
    Mutant(
        "nobody-had-a-turn", "service/claiming.py",
        "        unit.catalog.serve(", "        list(",
        OTHERS + "test_the_backlog_of_one_organisation_keeps_no_other_waiting",
    ),
    Mutant(
        "others-workers-are-heard", "service/crew.py",
        "if await self._workers.organisation_of(worker_id) != self._space.organisation:", "if False:",
        OTHERS + "test_a_worker_of_another_is_answered_as_one_that_is_not_there",
    ),
    Mutant(
        "runs-before-their-slots", "service/slots.py",
        "        if failpoints.ARMED and passed:\n",
        "        unit.seal()\n        unit.database.commit()\n        unit.database.begin()\n        if failpoints.ARMED and passed:\n",
        "test_schedules.py::test_a_server_that_is_killed_at_a_point_of_a_tick_has_decided_entirely_or_not_at_all[scheduler.before_save-sqlite]",
    ),
    Mutant(
        "only-some-slots-are-kept", "service/slots.py",
        "        kept.add_slots(unit, slots)\n        return Settled", "        kept.add_slots(unit, slots[:10])\n        return Settled",
        "test_schedules.py::test_many_schedules_that_fire_at_once_all_fire[100-sqlite]",
    ),
    Mutant(
        "what-passed-is-forgotten", "service/slots.py",
        "decide_slots(schedule, schedule.last_slot,", "decide_slots(schedule, max(schedule.last_slot, unit.now_ms - 1_400),",
        "test_schedules.py::test_every_slot_is_decided_once_however_often_the_server_is_killed[sqlite-4]",
    ),
    Mutant(
        "nobody-has-a-turn", "service/slots.py",
        "        unblock(unit, run, BEHIND)\n", "        del run\n",
        "test_schedules.py::test_runs_that_wait_for_each_other_go_one_by_one_across_kills[sqlite]",
    ),
    Mutant(
        "all-have-their-turn", "service/slots.py",
        "        behind = action is Action.QUEUE\n", "        behind = False\n",
        "test_schedules.py::test_runs_that_wait_for_each_other_go_one_by_one_across_kills[sqlite]",
    ),
    Mutant(
        "turn-though-one-is-busy", "storage/schedules.py",
        "if run.schedule_id not in busy]", "if busy is not None]",
        "tests/service/test_schedules.py::test_the_next_has_its_turn_however_the_one_before_ends[sqlite-terminated while it waits]",
    ),
    Mutant(
        "slots-not-left-to-others", "storage/sql/schedules.sql",
        "LIMIT :limit @skip_locked(schedules);", "LIMIT :limit;",
        SCHEDULES + "test_a_server_that_stands_still_in_a_tick_decides_nothing_a_second_time",
    ),
    Mutant(
        "schedules-not-told", "storage/peers.py",
        "slot_at=unit.slot_at", "slot_at=None",
        SCHEDULES + "test_a_schedule_that_one_server_makes_or_changes_wakes_the_other",
    ),
    Mutant(
        "bodies-may-take-for-ever", "http/protocol.py",
        "            if self._body_timer is None:\n", "            if self._body_timer is None and self._door is None:\n",
        HOSTILE + "test_what_drips_and_never_ends_is_cut_off_in_time[a body of known length]",
    ),
    Mutant(
        "bodies-may-take-for-ever-2", "http/protocol.py",
        "        enough = self._body_bytes >= BODY_SECONDS * BODY_BYTES_S", "        enough = True",
        HOSTILE + "test_a_crowd_that_drips_keeps_nobody_waiting_and_is_gone_in_time",
    ),
    Mutant(
        "bodies-have-one-time", "http/protocol.py",
        "        enough = self._body_bytes >= BODY_SECONDS * BODY_BYTES_S", "        enough = False",
        HOSTILE + "test_a_body_that_gets_on_is_taken_however_long_it_takes",
    ),
    Mutant(
        "everything-is-pipelined", "http/protocol.py",
        "        if len(self.pipeline) >= PIPELINED_MAX or self._last:", "        if False:",
        HOSTILE + "test_a_flood_of_pipelined_requests_is_cut_off_and_those_before_it_are_answered_in_order",
    ),
    Mutant(
        "refused-before-it-is-answered", "http/protocol.py",
        "        if before:\n            self.flow", "        if False:\n            self.flow",
        HOSTILE + "test_garbage_after_a_request_is_refused_after_its_answer",
    ),
    Mutant(
        "refused-before-it-is-answered-3", "http/protocol.py",
        "        if before:\n            self.flow", "        if False:\n            self.flow",
        HOSTILE + "test_a_head_that_is_too_large_is_refused_after_the_answer_to_what_came_before",
    ),
    Mutant(
        "bodies-count-as-heads", "http/protocol.py",
        "            if not self._others_before:", "            if True:",
        HOSTILE + "test_a_head_is_not_too_large_because_a_large_body_came_before_it",
    ),
    Mutant(
        "pages-not-looked-at", "storage/sqlite/verify.py",
        'if text != "ok":', "if not text:",
        "test_damage.py::test_a_bit_that_flips_is_found_or_is_one_value_and_nothing_else[150]",
    ),
    Mutant(
        "rooms-are-called-otherwise", "wire/workers.py",
        "    rooms: dict[Executor, Annotated[int, Meta(ge=0, le=100_000)]] = {}\n",
        "    rooms: dict[Executor, Annotated[int, Meta(ge=0, le=100_000)]] = msgspec.field(default_factory=dict, name='places')\n",
        VERSIONS + "test_a_worker_of_an_earlier_version_is_served_as_it_was",
        ("from msgspec import UNSET", "import msgspec\nfrom msgspec import UNSET"),
    ),
    Mutant(
        "token-is-called-otherwise", "wire/workers.py",
        '    token: str = ""\n', '    token: str = msgspec.field(default="", name="secret")\n',
        VERSIONS + "test_a_worker_of_an_earlier_version_is_served_as_it_was",
        ("from msgspec import UNSET", "import msgspec\nfrom msgspec import UNSET"),
    ),
    Mutant(
        "nothing-beyond-what-is-known", "wire/workers.py",
        "class StopAsked(Open, frozen=True, kw_only=True, omit_defaults=True):",
        "class StopAsked(Open, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):",
        VERSIONS + "test_a_worker_understands_a_server_of_another_version",
    ),
    Mutant(
        "notices-have-to-be-said", "wire/workers.py",
        "    notices: list[str] = []\n", "    notices: list[str]\n",
        VERSIONS + "test_a_worker_understands_a_server_of_another_version",
    ),
    Mutant(
        "nothing-beyond-what-is-known-2", "wire/workers.py",
        "class RetryOut(RetrySpec, frozen=True, kw_only=True, forbid_unknown_fields=False):",
        "class RetryOut(RetrySpec, frozen=True, kw_only=True):",
        VERSIONS + "test_no_answer_is_refused_by_a_client_for_what_it_says_beyond_what_is_known",
    ),
    Mutant(
        "texts-not-looked-at", "storage/sqlite/verify.py",
        "    yield from damaged\n", "",
        "test_damage.py::test_a_text_that_is_none_any_more_is_found",
    ),
    Mutant(
        "commit-in-the-middle-2", "storage/writer.py",
        "            unit.seal()\n", "            unit.flush()\n            database.commit()\n            database.begin()\n            unit.seal()\n",
        "test_damage.py::test_a_bit_that_flips_in_the_log_leaves_what_was_before_it[30]",
    ),
    Mutant(
        "copied-without-its-log", "storage/sqlite/backup.py",
        '        with writing.backup("main", reading, "main") as copying:\n            while not copying.done:\n                copying.step(PAGES_AT_ONCE)\n',
        "        draft.write_bytes(Path(reading.filename).read_bytes())\n",
        "test_damage.py::test_a_backup_under_load_has_all_that_was_acknowledged_before_it_and_can_be_served",
    ),
    Mutant(
        "unreadable-is-well", "storage/postgres/checkup.py",
        'yield "store", False, f"the database cannot be read', 'yield "store", True, f"the database cannot be read',
        "test_damage.py::test_a_page_of_a_database_that_is_damaged_is_found_and_never_served_as_something_else",
    ),
    Mutant(
        "refused-before-it-is-answered-2", "http/protocol.py",
        "            before = bool(self.pipeline)\n", "            before = False\n",
        HOSTILE + "test_a_body_that_breaks_off_in_garbage_is_refused_after_those_before_it",
    ),
)  # fmt: skip


def tried(mutant: Mutant, *options: str) -> tuple[str, float]:
    """Return what became of the test with the bug in place, and how long that took."""
    with tempfile.TemporaryDirectory(prefix="headway-mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        target = copy / "src" / "headway" / mutant.file
        text = target.read_text()
        if mutant.old not in text:
            return "its place is gone", 0.0
        text = text.replace(mutant.old, mutant.new, 1)
        if mutant.also is not None:
            text = text.replace(*mutant.also, 1)
        target.write_text(text)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--basetemp={copy / 'tmp'}",
             *(("-m", "long") if mutant.long else ()), *options, mutant.test if mutant.test.startswith("tests/") else f"tests/faults/{mutant.test}"],
            cwd=copy, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took = time.monotonic() - began
        if done.returncode == 1:
            said = next(
                (line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E  ")), "it timed out"
            )
            return f"found: {said[:100].replace('|', '/')}", took
        if done.returncode:
            return f"pytest ended with {done.returncode}", took
        return "NOT FOUND" if " passed" in done.stdout else "not tried: the test was skipped", took


def main(mutants: tuple[Mutant, ...] = MUTANTS, *options: str) -> int:
    """Try the mutants and print a table; return 1 if a test has not found its bug. `options` are pytest's."""
    wanted = set(sys.argv[1:])
    missed = 0
    print("| mutant | file | test | outcome | s |\n|---|---|---|---|---|")
    for mutant in mutants:
        if not wanted or mutant.name in wanted:
            outcome, took = tried(mutant, *options)
            missed += not outcome.startswith("found")
            print(f"| {mutant.name} | {mutant.file} | {mutant.test} | {outcome} | {took:.0f} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
