"""Seeded bugs that the fault tests and their neighbours have to find, each run once against a changed copy of the product.

    python -m tests.faults.mutants                 all of them, as a table
    python -m tests.faults.mutants no-fence …      some

The checkout itself is never changed.
"""

import sys

from tests.mutation import Mutant, main

SIMULATED = "tests/simulation/test_simulation.py::test_no_seed_breaks_a_promise_and_all_heal"
LINEARIZED = "tests/linearizability/test_linearizability.py::"
OUTAGES = "tests/servers/test_outages.py::"
WRITERS = "tests/store/test_two_writers.py::"
ENDS = "tests/web/test_server.py::"
CLIENT = "tests/client/test_client.py::"
CLAIMS = "tests/runs/test_sessions.py::"
SHARED = "tests/servers/test_servers.py::"
WRITING = "tests/store/test_writer.py::"
SILENT = "tests/store/test_silent_database.py::"
LOOPS = "tests/runs/test_loops.py::"
OTHERS = "tests/runs/test_organisations.py::"
SCHEDULES = "tests/servers/test_schedules.py::"
HOSTILE = "tests/web/test_hostile_clients.py::"
VERSIONS = "tests/web/test_versions.py::"

MUTANTS = (
    Mutant(
        "record-cursor-not-kept", "PatchRecords.apply",
        "after.save(uow, self.run)", "pass",
        "tests/faults/test_record_kills.py::test_each_record_is_changed_exactly_once_whatever_is_killed",
    ),
    Mutant(
        "record-cursor-a-page-behind", "WriteJobs.apply",
        "after.save(uow, run)", "replace(after, after=before.after).save(uow, run)",
        "tests/e2e/test_customer_status.py::test_every_customers_status_is_updated_once_though_the_server_is_killed_in_the_middle[sqlite-100000-1]",
    ),
    Mutant(
        "index-of-a-span-whatever-fits", "patch_records",
        "whole and len(ids) >= RANGE_DELETE_MIN", "len(ids) >= RANGE_DELETE_MIN",
        "tests/features/record_tasks/test_patches.py::test_many_at_once_leave_what_one_by_one_leaves[sqlite-1]",
    ),
    Mutant(
        "message-named-by-its-attempt", "Sender.call",
        "self._run.checkpoint.origin", "str(self._run.run.epoch)",
        "tests/faults/test_record_kills.py::test_every_record_is_sent_and_what_is_sent_again_has_the_same_name",
    ),
    Mutant(
        "record-written-as-it-was-read", "WriteJobs._unchanged",
        "before is not None and before.version == version and (key not in self._changed_by)", "before is not None",
        "tests/features/record_tasks/test_record_tasks.py::test_what_was_read_and_has_changed_is_read_again",
    ),
    Mutant(
        "guard-looks-only-when-a-target-is-named", "EgressPolicy.sockets",
        "self._may_dial(address[0], trusted=trusted)", "address",
        "tests/outbound/test_http.py::test_the_address_that_is_dialled_is_what_counts",
    ),
    Mutant(
        "headers-not-looked-at", "one_line",
        "_BREAKS.search(text)", "not text.isprintable and _BREAKS.search(text)",
        "tests/outbound/test_mail.py::test_a_line_break_in_a_header_fails_the_mail",
    ),
    Mutant(
        "import-forgets-where-it-stood", "ImportRows.apply",
        "save_checkpoint(uow, self.run, after.rows, after, after.at, self.file_bytes, f'{after.rows:,} rows')",
        "save_checkpoint(uow, self.run, 0, ImportCheckpoint(), after.at, self.file_bytes, f'{after.rows:,} rows')",
        "tests/faults/test_imports.py::test_an_import_that_is_killed_has_each_row_once[sqlite]",
    ),
    Mutant(
        "import-keeps-where-it-will-stand", "Imports.chunk",
        "return await self._store.write(ImportRows(run, spec, checkpoint, found, new_ids, file.bytes, self._zone()))",
        "import asyncio\n"
        "from headway.store.command import Command\n"
        "class Early(Command):\n"
        "    run_ids = [run.id]\n"
        "    def apply(self, uow):\n"
        "        save_checkpoint(uow, run, checkpoint.rows + 1, "
        "replace(checkpoint, at=checkpoint.at + found[-1].end, rows=checkpoint.rows + len(found)), checkpoint.at + found[-1].end, file.bytes, '0 rows')\n"
        "await self._store.write(Early())\n"
        "await asyncio.sleep(0.5)\n"  # the test kills once it sees the progress, so in between
        "return await self._store.write(ImportRows(run, spec, checkpoint, found, new_ids, file.bytes, self._zone()))",
        "tests/faults/test_imports.py::test_an_import_that_is_killed_has_each_row_once[sqlite]",
    ),
    Mutant(
        "blanks-are-like-anything", "ConditionSql.term",
        "f'({text} IS NULL OR {found})' if condition.operator in NEGATIVE else found", "found",
        "tests/features/tables/test_conditions.py::test_sql_and_python_agree_on_every_condition[sqlite]",
    ),
    Mutant(
        "page-ends-at-its-window", "read_page",
        "found and edge", "edge",
        "tests/features/tables/test_conditions.py::test_a_record_is_found_whatever_the_walk[sqlite]",
        also=("read_page", "edge or (BLANKS if valued else '')", "BLANKS if valued else ''"),
    ),
    Mutant(
        "index-keeps-what-was", "write_records",
        "was - now", "was - was",
        "tests/features/tables/test_records.py::test_records_of_one_batch_may_exchange_unique_values[sqlite]",
    ),
    Mutant(
        "unique-in-the-batch-only", "_check_unique",
        "{(field, key): owner for field, key, owner in storage.find_entries(uow.database, table, sorted(asked))}",
        "{(field, key): owner for _ in () for field, key, owner in storage.find_entries(uow.database, table, sorted(asked))}",
        "tests/features/tables/test_records.py::test_long_texts_that_begin_alike_are_told_apart[sqlite]",
    ),
    Mutant(
        "formulas-go-out", "_cell",
        "safe and _is_formula(text.lstrip(QUOTE))", "not safe and _is_formula(text.lstrip(QUOTE))",
        "tests/features/tables/test_imports.py::test_nothing_in_an_exported_file_is_a_formula[sqlite]",
    ),
    Mutant(
        "log-removed-at-start", "_open",
        "writing = SqliteDatabase(str(path), writer=True)",
        "path.with_name(path.name + '-wal').unlink(missing_ok=True)\n"
        "writing = SqliteDatabase(str(path), writer=True)",
        "tests/faults/test_server_kills.py::test_nothing_acknowledged_is_lost_when_the_server_is_killed",
    ),
    Mutant(
        "log-removed-at-start-2", "_open",
        "writing = SqliteDatabase(str(path), writer=True)",
        "path.with_name(path.name + '-wal').unlink(missing_ok=True)\n"
        "writing = SqliteDatabase(str(path), writer=True)",
        "tests/faults/test_fail_points.py::test_a_write_that_was_acknowledged_survives_a_kill",
    ),
    Mutant(
        "takes-its-time-to-start", "_open",
        "writing = SqliteDatabase(str(path), writer=True)",
        "__import__('time').sleep(3)\nwriting = SqliteDatabase(str(path), writer=True)",
        "tests/faults/test_server_kills.py::test_a_server_with_a_hundred_thousand_open_runs_is_back_within_two_seconds[sqlite]", long=True,
    ),
    Mutant(
        "keys-forgotten", "KeyedCommand.apply",
        "uow.remember", "lambda *_: None",
        "tests/faults/test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all",
    ),
    Mutant(
        "keys-forgotten-2", "KeyedCommand.apply",
        "uow.remember", "lambda *_: None",
        "tests/faults/test_server_kills.py::test_one_idempotency_key_starts_one_run_however_many_send_it_at_once",
    ),
    Mutant(
        "keys-not-looked-up-in-a-batch", "KeyedCommand.apply",
        "uow.reply(self._key)", "uow.reply(self._key) if uow.changes == 0 else None",
        "tests/faults/test_races.py::test_one_idempotency_key_in_one_batch_has_one_effect",
    ),
    Mutant(
        "commit-in-the-middle", "UnitOfWork.commit",
        "self.seal()", "self.database.commit()\nself.database.begin()\nself.seal()",
        "tests/faults/test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all",
    ),
    Mutant(
        "lost-claims-kept", "Leases.hand_back",
        "if leases:\n    ...", "if False:\n    ...",
        "tests/faults/test_fail_points.py::test_a_claim_whose_answer_was_lost_is_handed_back_and_counts_no_attempt",
    ),
    Mutant(
        "two-heartbeats-decide", "UndeliveredLeases.never_arrived",
        "claiming is None", "True",
        CLAIMS + "test_a_lease_whose_answer_is_under_way_is_nobody_elses_however_long_that_takes",
        also=("UndeliveredLeases.never_arrived", "now_ms - since_ms >= lease_ms", "lease in before"),
    ),
    Mutant(
        "late-heartbeats-believed", "UndeliveredLeases.never_arrived",
        "self._first < heard < self._beat and self._waiting.issuperset(claiming)",
        "self._waiting.issuperset(claiming)",
        CLAIMS + "test_heartbeats_that_were_late_say_nothing_of_a_claim_that_came_after_them",
        also=("UndeliveredLeases.never_arrived", "beat <= heard", "lease in before"),
    ),
    Mutant(
        "all-claims-wait-here", "UndeliveredLeases.never_arrived",
        "self._waiting.issuperset(claiming)", "True",
        CLAIMS + "test_a_claim_that_waits_at_another_server_may_hold_what_is_not_named",
    ),
    Mutant(
        "claims-wait-with-what-they-have", "Claim.apply",
        "if leases:\n    session.claims.ended(self.number)", "pass",
        CLAIMS + "test_a_claim_that_has_taken_a_run_does_not_wait_any_more_before_that_is_committed",
    ),
    Mutant(
        "repeated-claims-counted-on", "UndeliveredLeases.began",
        "number > self._latest", "number",
        CLAIMS + "test_a_claim_that_comes_twice_is_not_known_to_hold_nothing",
    ),
    Mutant(
        "others-heartbeats-taken-for-ours", "UndeliveredLeases.__init__",
        "secrets.randbits(32) << 20", "0",
        CLAIMS + "test_what_was_heard_of_another_server_counts_for_nothing",
    ),
    Mutant(
        "old-workers-hurried", "UndeliveredLeases.never_arrived",
        "now_ms - since_ms >= lease_ms", "lease in before",
        CLAIMS + "test_of_a_worker_that_says_nothing_of_its_claims_no_answer_is_under_way_longer_than_a_lease",
    ),
    Mutant(
        "held-before-claiming", "WorkerHeartbeat.beat",
        "claiming = session.claiming.now\nheld = list(attempts.held)",
        "held = list(attempts.held)\nclaiming = session.claiming.now",
        "tests/worker/test_worker.py::test_what_a_claim_brings_while_a_heartbeat_is_made_is_held_or_under_way",
    ),
    Mutant(
        "one-number-for-two-servers", "HttpLink.claim",
        "def ask(server: Transport) -> bytes:\n"
        "    body = self._encode(replace(wanted, number=number()))\n"
        "    return server.call('POST', '/v1/leases:claim', body, timeout_s=timeout_s)",
        "body = self._encode(replace(wanted, number=number()))\n"
        "def ask(server: Transport) -> bytes:\n"
        "    return server.call('POST', '/v1/leases:claim', body, timeout_s=timeout_s)",
        "tests/worker/test_link.py::test_a_claim_that_is_asked_of_another_server_has_another_number",
    ),
    Mutant(
        "migration-in-two-transactions", "migrate",
        "connection.execute('INSERT INTO migrations VALUES (?, ?, ?)', (number, name, now_ms))",
        "connection.execute('COMMIT')\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute('INSERT INTO migrations VALUES (?, ?, ?)', (number, name, now_ms))",
        "tests/faults/test_fail_points.py::test_a_migration_that_is_killed_leaves_a_store_that_opens",
    ),
    Mutant(
        "stream-resumes-one-too-late", "sql:read_events",
        "WHERE run_id = :run_id AND seq > :after ORDER",
        "WHERE run_id = :run_id AND seq > :after + (:after > 1) ORDER",
        "tests/faults/test_server_kills.py::test_a_reader_sees_each_event_once_and_in_order_across_kills",
    ),
    Mutant(
        "broken-connection-unnoticed", "Session.expires_ms",
        "min(over, self.broke_ms + disconnect_ms)", "over",
        "tests/faults/test_worker_kills.py::test_every_run_of_a_killed_worker_is_finished_by_another",
    ),
    Mutant(
        "no-fence", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id", "run is None",
        "tests/faults/test_worker_kills.py::test_every_late_report_is_refused_and_changes_nothing",
    ),
    Mutant(
        "fence-by-worker-only", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id",
        "run is None or run.worker_id != self.worker_id",
        "tests/faults/test_worker_kills.py::test_every_late_report_is_refused_and_changes_nothing",
    ),
    Mutant(
        "lease-never-lapses", "Session.expires_ms",
        "max(self.heard_ms, since_ms) + lease_ms", "max(self.heard_ms, since_ms) + lease_ms * 3",
        "tests/faults/test_worker_kills.py::test_a_paused_worker_loses_its_run_and_changes_nothing_when_it_wakes",
    ),
    Mutant(
        "released-counts", "_waiting",
        "run.attempt - (run.worker_id is not None)", "run.attempt",
        "tests/faults/test_worker_kills.py::test_a_worker_told_to_go_hands_its_run_back_and_the_attempt_does_not_count",
    ),
    Mutant(
        "step-failures-not-kept", "_step_failure",
        "uow.add_step(run.id, name, value)", "pass",
        "tests/faults/test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[1500ms-sqlite]",
    ),
    Mutant(
        "step-failures-counted-by-attempt", "Journal.failures",
        "self.has(f'{STEP_FAILURE}{step}:{number + 1}')", "False",
        "tests/faults/test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[2500ms-sqlite]",
    ),
    Mutant(
        "retry-takes-failures-over", "sql:inherit_steps",
        "NOT IN ('step-failure:', 'continued-by:')", "NOT IN ('continued-by:')",
        "tests/faults/test_step_retries.py::test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed[2500ms-sqlite]",
    ),
    Mutant(
        "retry-finds-no-steps", "_leases",
        "run.seq > 2 or run.previous_id is not None", "run.seq > 2",
        "tests/runs/test_continuing.py::test_a_retry_has_the_steps_of_the_run_that_it_repeats[sqlite]",
    ),
    Mutant(
        "retry-orphans-its-children", "_adopt",
        "uow.later", "lambda *_, **__: None",
        "tests/runs/test_continuing.py::test_children_that_have_not_ended_are_stopped_with_the_retry[sqlite]",
    ),
    Mutant(
        "retry-takes-children-from-another", "_children",
        "child.parent_id != run.id", "False",
        "tests/runs/test_continuing.py::test_a_child_that_one_retry_has_is_not_taken_from_it_by_another[sqlite]",
    ),
    Mutant(
        "children-outlive", "process.program.main",
        "die_with(parent)", "pass",
        "tests/faults/test_worker_kills.py::test_the_children_of_a_killed_worker_die_with_it",
        also=("ChildProgram._listen", "os._exit(0)", "threading.Event().wait()"),
    ),
    Mutant(
        "stop-not-pushed", "Sessions.stop",
        "session.messages.append(message)\nsession.wake.set()", "pass",
        "tests/faults/test_stopping.py::test_running_code_hears_within_two_seconds_that_it_is_to_stop",
    ),
    Mutant(
        "never-killed", "Watchdog._escalate",
        "attempt.kill()", "pass",
        "tests/faults/test_stopping.py::test_code_that_does_not_listen_is_killed_after_its_grace",
    ),
    Mutant(
        "stubborn-threads-are-let-be", "Watchdog._escalate",
        "self.exit_code = RESTART_CODE", "self._stubborn.clear()",
        "tests/faults/test_stopping.py::test_a_thread_that_does_not_listen_ends_with_its_worker_once_the_others_are_finished[sqlite]",
    ),
    Mutant(
        "claims-what-it-cannot-begin", "RunningAttempts.rooms",
        "room < most", "room > most",
        "tests/faults/test_rooms.py::test_no_more_runs_are_leased_than_there_are_children_and_an_urgent_one_is_next[sqlite]",
    ),
    Mutant(
        "poison-retried-for-ever", "_crashed",
        "task.max_crashes", "1000",
        "tests/faults/test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-leaves]",
    ),
    Mutant(
        "crashed-runs-not-set-apart", "RunningAttempts.accept",
        "lease.crashes and (not attempt.killable)", "False",
        "tests/faults/test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-segfault]",
    ),
    Mutant(
        "memory-not-limited", "ChildProgram.run",
        "limit is not None", "False",
        "tests/faults/test_poison.py::test_poison_ends_as_failed_and_the_others_are_finished[sqlite-eats-memory]",
    ),
    Mutant(
        "output-not-throttled", "Throttle.feed",
        "self._limit - self._passed", "1 << 40",
        "tests/faults/test_poison.py::test_a_task_that_prints_without_end_is_heard_in_part_and_finishes",
    ),
    Mutant(
        "heartbeats-from-the-loop", "WorkerHeartbeat.beat",
        "worker_id, sent_ms = (session.id, self._clock.monotonic_ms())",
        "import threading as t\n"
        "heard = t.Event()\n"
        "attempts.inline.loop.call_soon_threadsafe(heard.set)\n"
        "heard.wait()\n"
        "worker_id, sent_ms = (session.id, self._clock.monotonic_ms())",
        "tests/faults/test_poison.py::test_a_function_that_blocks_the_loop_beyond_the_lease_keeps_its_lease",
    ),
    Mutant(
        "grandchildren-survive", "ChildProcess.kill",
        "os.killpg(self.process.pid, signal.SIGKILL)", "pass",
        "tests/faults/test_poison.py::test_a_fork_bomb_leaves_no_processes_behind",
    ),
    Mutant(
        "waits-for-a-dead-child", "Pipe.read_some",
        "not wait and (not self._readable())", "False",
        "tests/worker/test_process.py::test_who_does_not_wait_hears_at_once_that_nothing_has_come",
    ),
    Mutant(
        "neighbours-not-handed-back", "Watchdog._escalate",
        "self._stubborn[attempt.key] = outcome", "self._finish(RESTART_CODE)",
        "tests/faults/test_poison.py::test_a_deaf_task_is_given_up_and_the_runs_beside_it_are_not_counted_as_crashed",
    ),
    Mutant(
        "exit-without-drain", "EmbeddedServer._stop",
        "self._soon(self.asked_to_stop.set)", "self.should_exit = self.force_exit = True",
        "tests/faults/test_drain.py::test_clients_notice_nothing_of_a_rolling_restart[sqlite]",
    ),
    Mutant(
        "stream-resumes-one-too-late-3", "sql:read_events",
        "WHERE run_id = :run_id AND seq > :after ORDER",
        "WHERE run_id = :run_id AND seq > :after + (:after > 1) ORDER",
        "tests/faults/test_drain.py::test_open_streams_do_not_hold_up_the_end_and_resume[sqlite]",
    ),
    Mutant(
        "drained-comes-back", "Supervisor._keep",
        "if code == DRAINED_CODE:\n    ...\n    return", "if code == DRAINED_CODE:\n    ...",
        "tests/faults/test_drain.py::test_a_local_worker_that_is_drained_does_not_come_back_and_its_end_is_no_warning[sqlite]",
    ),
    Mutant(
        "asked-is-ordered", "Watchdog.ask",
        "self._asked = True", "self._asked, self._at_once = (True, self._ordered)",
        "tests/faults/test_drain.py::test_a_draining_server_goes_on_answering_while_a_run_takes_its_time",
    ),
    Mutant(
        "own-worker-spins", "BuiltInWorker._work",
        "self._service.sessions.may_claim(session)", "True",
        "tests/faults/test_drain.py::test_the_servers_own_worker_does_not_hold_it_up_when_it_is_told_to_drain",
    ),
    Mutant(
        "claims-while-draining", "Workers.claim",
        "if self._sessions.draining:\n    ...", "if False:\n    ...",
        "tests/faults/test_drain.py::test_a_draining_server_starts_nothing_more_and_says_that_it_is_not_ready",
        also=("Sessions.may_claim", "session.draining or session.over or self.draining", "session.draining or session.over"),
    ),
    Mutant(
        "streams-held-open", "_drain",
        "api.drain()", "pass",
        "tests/faults/test_drain.py::test_open_streams_and_long_polls_do_not_delay_the_end",
        also=("EmbeddedServer.shutdown", "self._api.close()", "pass"),
    ),
    Mutant(
        "cut-off-is-an-error", "Api.__call__",
        "not self.closing or call.status", "self.closing",
        OUTAGES + "test_a_start_that_a_server_cannot_finish_before_its_end_is_made_once_at_the_other",
    ),
    Mutant(
        "queue-reset", "EmbeddedServer.shutdown",
        "for _ in range(TAKING_TURNS):\n    await asyncio.sleep(0)", "pass",
        ENDS + "test_who_has_connected_and_asked_when_the_server_goes_is_answered",
    ),
    Mutant(
        "closed-before-it-was-asked", "Connection.shutdown",
        "self.cycle is None or self._head_bytes >= 0 or self._rest_timer is not None", "False",
        ENDS + "test_who_has_connected_and_asks_a_moment_later_is_answered_when_the_server_goes",
    ),
    Mutant(
        "kept-alive-while-draining", "Connection.on_headers_complete",
        "self.cycle.keep_alive = False", "pass",
        ENDS + "test_a_server_that_drains_closes_each_connection_with_its_answer",
    ),
    Mutant(
        "connections-left-open", "EmbeddedServer.shutdown",
        "connection.transport.abort()", "pass",
        ENDS + "test_no_connection_outlasts_the_server",
    ),
    Mutant(
        "versions-changed-without-a-key", "Caller.patch",
        "{'Idempotency-Key': encoding.new_key(), **(headers or {})}", "headers",
        CLIENT + "test_a_change_of_a_version_has_one_key_for_all_tries",
    ),
    Mutant(
        "deleted-is-not-found", "Caller.send",
        "(Gone, NotFound)", "Gone",
        CLIENT + "test_a_delete_of_what_leaves_no_trace_has_happened_if_its_first_answer_was_lost",
    ),
    Mutant(
        "gives-up-soon", "config",
        "RETRIES: Final = 7", "RETRIES: Final = 5",
        CLIENT + "test_a_server_that_is_away_for_six_seconds_is_waited_for",
    ),
    Mutant(
        "tokens-without-a-key", "Runs.complete_token",
        "self._change(ChangeRun(run_id, work, None), request)", "self._change(ChangeRun(run_id, work, None))",
        "tests/web/test_worker_protocol.py::test_a_token_completes_the_wait_once",
    ),
    Mutant(
        "records-patched-without-a-key", "patch_record",
        "call.services.get(Records).update(call.arguments['table'], [change], request)",
        "call.services.get(Records).update(call.arguments['table'], [change])",
        "tests/features/tables/test_routes.py::test_a_change_of_a_records_version_can_be_repeated_under_its_key",
    ),
    Mutant(
        "synchronous-normal", "connection",
        "_PRAGMAS = ('PRAGMA synchronous = FULL', ...)", "_PRAGMAS = ('PRAGMA synchronous = NORMAL', ...)",
        "tests/faults/test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "synchronous-normal-2", "connection",
        "_PRAGMAS = ('PRAGMA synchronous = FULL', ...)", "_PRAGMAS = ('PRAGMA synchronous = NORMAL', ...)",
        "tests/faults/test_power.py::test_nothing_acknowledged_is_lost_when_the_power_is_cut",
    ),
    Mutant(
        "synchronous-normal-3", "connection",
        "_PRAGMAS = ('PRAGMA synchronous = FULL', ...)", "_PRAGMAS = ('PRAGMA synchronous = NORMAL', ...)",
        "tests/faults/test_power.py::test_what_was_acknowledged_before_the_power_went_is_there_though_the_server_lived_on[ext4-30]", long=True,
    ),
    Mutant(
        "postgres-does-not-wait-for-the-disk-2", "PostgresDatabase.begin",
        "self._connection.execute('BEGIN')",
        "self._connection.execute('BEGIN')\nself._connection.execute('SET LOCAL synchronous_commit = off')",
        "tests/faults/test_power.py::test_nothing_acknowledged_is_lost_when_the_database_loses_its_power[ext4-30]", long=True,
    ),
    Mutant(
        "claims-before-it-listens", "Claimer.run",
        "self._listens.wait(LISTENS_S)", "pass",
        "tests/worker/test_worker.py::test_nothing_is_claimed_before_the_server_would_notice_the_workers_end_at_once",
    ),
    Mutant(
        "woken-is-told", "_Wake.wait",
        "self._changed.clear()", "self._changed.clear()\nself.told()",
        "tests/runs/test_watching.py::test_who_is_woken_for_nothing_again_and_again_still_says_that_it_lives",
    ),
    Mutant(
        "who-has-left-is-still-known", "CancelOnDisconnect.__exit__",
        "self._waiting.discard(self)", "pass",
        "tests/faults/test_soak.py::test_nothing_that_is_over_is_held_on_to[sqlite]", long=True,
    ),
    Mutant(
        "leases-by-the-wall-clock", "SystemClock.monotonic_ms",
        "time.clock_gettime_ns(STEADY)", "time.time_ns()",
        "tests/faults/test_clock.py::test_a_clock_that_jumps_an_hour_and_back_takes_no_lease_and_loses_no_run",
    ),
    Mutant(
        "leases-by-the-wall-clock-2", "SystemClock.monotonic_ms",
        "time.clock_gettime_ns(STEADY)", "time.time_ns()",
        "tests/faults/test_clock.py::test_a_worker_whose_clock_is_wrong_and_jumps_keeps_its_lease_and_ends_its_runs_once",
    ),
    Mutant(
        "clock-is-set-unnoticed", "Timekeeper.tick",
        "self._wake()", "pass",
        "tests/faults/test_clock.py::test_what_a_jump_makes_due_begins_by_itself_within_seconds[+1h-sqlite]", long=True,
    ),
    Mutant(
        "pause-held-against-workers", "LeaseClock.now_ms",
        "self._good_until_ms is not None and now_ms > self._good_until_ms", "False",
        "tests/faults/test_pauses.py::test_a_server_that_stood_still_three_times_counts_no_crash_and_fails_no_run[sqlite]",
    ),
    Mutant(
        "pause-held-against-workers-2", "LeaseClock.now_ms",
        "self._good_until_ms is not None and now_ms > self._good_until_ms", "False",
        "tests/faults/test_pauses.py::test_what_is_claimed_when_a_server_wakes_is_executed_once[sqlite]",
    ),
    Mutant(
        "pause-held-against-servers", "FailureDetector.gone",
        "self._looked_ms + min(self._look_ms - before_ms, LOOK_MAX_MS)",
        "self._looked_ms + self._look_ms - before_ms",
        "tests/faults/test_pauses.py::test_servers_on_one_database_take_nothing_from_who_was_not_heard_while_they_stood_still[both]",
    ),
    Mutant(
        "still-is-dead", "Servers._send_beat",
        "worker_id in found.of_paused", "False",
        "tests/faults/test_pauses.py::test_a_run_of_a_worker_that_knows_only_a_server_which_stands_still_has_not_crashed",
    ),
    Mutant(
        "deaf-workers-keep-their-leases", "Workers.report",
        "asked.claiming is not None and self._sessions.misses_answers(session, asked.heard)", "False",
        "tests/faults/test_partitions.py::test_a_worker_that_is_cut_off_one_way_loses_its_run_to_one_that_is_not[back-sqlite]",
    ),
    Mutant(
        "answered-before-commit", "Writer._transact",
        "self._do(command, uow)",
        "self._do(command, uow)\n"
        "if self._loop:\n"
        "    self._loop.call_soon_threadsafe(self._settle, [command], None)",
        "tests/faults/test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "one-commit-a-command-2", "Writer._once",
        "todo and weight < BATCH_MAX", "todo and (not batch) and (weight < BATCH_MAX)",
        "tests/faults/test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else",
    ),
    Mutant(
        "one-commit-a-command-3", "Writer._once",
        "todo and weight < BATCH_MAX", "todo and (not batch) and (weight < BATCH_MAX)",
        "tests/faults/test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else[60-4-postgres]",
    ),
    Mutant(
        "each-sign-of-life-is-written-down", "workers",
        "NOTED_EVERY_MS: Final = 60000", "NOTED_EVERY_MS: Final = 0",
        "tests/faults/test_disk.py::test_a_slow_disk_makes_writes_slow_and_nothing_else",
        also=("Workers._heartbeat", "self._note(session)", "self._note(session)\nawait self._store.write(SaveWorker(session.registration.worker))"),
    ),
    Mutant(
        "stream-resumes-one-too-late-2", "_known",
        "return number(last, 'Last-Event-ID')", "seen = number(last, 'Last-Event-ID')\nreturn seen + (seen > 0)",
        "tests/faults/test_streams.py::test_every_stream_is_resumed_without_gap_or_repetition_when_the_server_is_killed",
    ),
    Mutant(
        "never-cut", "Connection.pause_writing",
        "self.transport.abort", "lambda: None",
        "tests/faults/test_streams.py::test_who_does_not_read_is_cut_off_and_finds_everything_when_it_comes_back", long=True,
    ),
    Mutant(
        "lease-never-lapses-2", "Session.expires_ms",
        "max(self.heard_ms, since_ms) + lease_ms", "max(self.heard_ms, since_ms) + lease_ms * 100",
        "tests/faults/test_partitions.py::test_a_worker_that_is_cut_off_is_fenced_and_nothing_is_stuck_when_it_is_back",
        also=("Session.expires_ms", "min(over, self.broke_ms + disconnect_ms)", "over"),
    ),
    Mutant(
        "outage-is-an-internal-error-2", "Writer._commit",
        "StorageUnavailable()", "error",
        "tests/faults/test_partitions.py::test_a_server_that_is_cut_off_its_database_loses_nothing_and_the_other_goes_on",
    ),
    Mutant(
        "everybody-let-in", "ConcurrencyLimiter.full",
        "self.in_flight + self.expected >= self.limit", "False",
        "tests/faults/test_overload.py::test_what_is_accepted_is_done_and_the_rest_is_refused_at_once[sqlite-times0-5]",
    ),
    Mutant(
        "crowd-comes-in-to-be-refused", "Connection.on_headers_complete",
        "shedder is not None and shedder.limiter.pressed and self._rejected(shedder)", "False and self._rejected(shedder)",
        "tests/faults/test_overload.py::test_what_is_accepted_is_done_and_the_rest_is_refused_at_once[sqlite-times0-5]",
    ),
    Mutant(
        "one-commit-a-command", "Writer._once",
        "todo and weight < BATCH_MAX", "todo and (not batch) and (weight < BATCH_MAX)",
        "tests/faults/test_disk.py::test_every_acknowledged_start_was_synced_before_its_answer_was_sent",
    ),
    Mutant(
        "sync-tried-again", "translated",
        "isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError))", "False",
        "tests/faults/test_disk.py::test_a_sync_that_fails_ends_the_server_and_nothing_is_acknowledged_after",
    ),
    Mutant(
        "reserve-kept", "Store.check_space",
        "self._reserve.release()", "pass",
        "tests/faults/test_disk.py::test_a_full_disk_refuses_new_runs_lets_old_ones_end_and_heals",
    ),
    Mutant(
        "does-not-heal", "Store.check_space",
        "self.writer.full = False", "pass",
        "tests/faults/test_disk.py::test_a_full_disk_refuses_new_runs_lets_old_ones_end_and_heals",
    ),
    Mutant(
        "a-databases-full-disk-is-an-outage", "translated",
        "errors.DiskFull", "ZeroDivisionError",
        "tests/faults/test_disk.py::test_a_database_whose_disk_is_full_takes_no_runs_loses_none_and_heals",
    ),
    Mutant(
        "damage-not-explained", "_open",
        "raise StorageBroken(why(path, error)) from error", "raise",
        "tests/faults/test_disk.py::test_a_damaged_file_is_refused_with_what_to_do",
    ),
    Mutant(
        "lost-race-counts", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id", "run is None",
        "tests/faults/test_races.py::test_a_run_that_is_stopped_finished_and_lost_at_once_ends_once",
    ),
    Mutant(
        "stopped-result-counts", "_apply",
        "raise RunStopping", "return",
        "tests/faults/test_races.py::test_a_result_that_comes_after_an_acknowledged_stop_does_not_count",
    ),
    Mutant(
        "simulated-no-fence", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id", "run is None",
        SIMULATED,
    ),
    Mutant(
        "simulated-fence-by-worker-only", "ApplyReports.apply",
        "run is None or run.epoch != report.epoch or run.worker_id != self.worker_id",
        "run is None or run.worker_id != self.worker_id",
        SIMULATED,
    ),
    Mutant(
        "keys-outside-the-transaction", "KeyedCommand.apply",
        "known = uow.reply(self._key)",
        "kept = uow.definitions.__dict__.setdefault('kept', {})\nknown = kept.get(self._key)",
        SIMULATED,
        also=("KeyedCommand.apply", "uow.remember(self._key, request.fingerprint, reply, uow.now_ms + request.keep_ms)", "kept[self._key] = (request.fingerprint, reply)"),
    ),
    Mutant(
        "copies-before-the-commit", "UnitOfWork.save",
        "self._runs[run_id] = self._for_cache[run_id] = run",
        "self._runs[run_id] = self._for_cache[run_id] = self._cache[run_id] = run",
        SIMULATED,
    ),
    Mutant(
        "lapse-brings-nothing-back", "EndSession.apply",
        "uow.find('find_leased', worker_id=worker_id, limit=CHUNK)", "[]",
        SIMULATED,
    ),
    Mutant(
        "stager-skips-the-first", "Stage.apply",
        "for run in due:\n    ...", "for run in due[1:]:\n    ...",
        SIMULATED,
    ),
    Mutant(
        "stager-not-told", "Writer._once",
        "gone or done or committed is not None", "gone or done",
        "tests/runs/test_claiming.py::test_the_stager_hears_when_a_run_is_due_that_a_waiting_claim_has_parked",
    ),
    Mutant(
        "left-meanwhile", "Writer._drop_cancelled",
        "self._waiting = waiting", "self._waiting = [one for one in waiting if not one.cancelled]",
        "tests/store/test_writer.py::test_who_leaves_while_another_is_let_go_is_let_go_too",
    ),
    Mutant(
        "child-started-again", "ReportProcessor._child",
        "uow.step(run.id, report.name)", "None",
        SIMULATED,
    ),
    Mutant(
        "waiting-counts-as-an-attempt", "_waiting",
        "run.attempt - (run.worker_id is not None)", "run.attempt",
        SIMULATED,
    ),
    Mutant(
        "answered-before-the-commit", "Writer._transact",
        "self._do(command, uow)", "self._do(command, uow)\nself._settle([command], None)",
        SIMULATED,
    ),
    Mutant(
        "limits-of-keys-forgotten", "Headroom.park_until",
        "return PARKED", "return None",
        SIMULATED,
    ),
    Mutant(
        "slots-not-passed-on", "free_slot",
        "uow.defer(unpark_freed, (run.task, run.key))", "pass",
        SIMULATED,
    ),
    Mutant(
        "simulated-lost-claims-kept", "Leases.hand_back",
        "if leases:\n    ...", "if False:\n    ...",
        SIMULATED,
    ),
    Mutant(
        "simulated-two-heartbeats-decide", "UndeliveredLeases.never_arrived",
        "claiming is None", "True",
        SIMULATED,
        also=("UndeliveredLeases.never_arrived", "now_ms - since_ms >= lease_ms", "lease in before"),
    ),
    Mutant(
        "simulated-all-claims-wait-here", "UndeliveredLeases.never_arrived",
        "self._waiting.issuperset(claiming)", "True",
        SIMULATED,
    ),
    Mutant(
        "versions-not-compared", "ChangeRun.apply",
        "self.version is not None and run.version != self.version", "False",
        SIMULATED,
    ),
    Mutant(
        "workers-forgotten-at-a-restart", "Leases.restore",
        "self._sessions.open(worker_id)", "pass",
        SIMULATED,
        also=("Leases.restore", "worker.state != 'gone'", "False"),
    ),
    Mutant(
        "protection-not-kept", "delete",
        "run.protected", "False",
        SIMULATED,
    ),
    Mutant(
        "stale-reads", "Reader.run",
        "rows = await self._rows('read_run', id=run_id)",
        "old = self.__dict__.setdefault('old', {})\n"
        "rows = old.pop(run_id, None) or old.setdefault(run_id, self.near.rows('read_run', id=run_id))",
        LINEARIZED + "test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills",
    ),
    Mutant(
        "updates-lost", "ChangeRun.apply",
        "run.version != self.version", "self.version > run.version",
        LINEARIZED + "test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills",
    ),
    Mutant(
        "stale-reads-2", "Reader.run",
        "rows = await self._rows('read_run', id=run_id)",
        "old = self.__dict__.setdefault('old', {})\n"
        "rows = old.pop(run_id, None) or old.setdefault(run_id, await self._rows('read_run', id=run_id))",
        LINEARIZED + "test_it_is_one_order_whichever_of_two_servers_they_ask",
    ),
    Mutant(
        "postgres-does-not-wait-for-the-disk", "PostgresDatabase.begin",
        "self._connection.execute('BEGIN')",
        "self._connection.execute('BEGIN')\nself._connection.execute('SET LOCAL synchronous_commit = off')",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_the_database_is_killed",
    ),
    Mutant(
        "commits-not-held-to-the-standby", "PostgresDatabase.begin",
        "self._connection.execute('BEGIN')",
        "self._connection.execute('BEGIN')\n"
        "self._connection.execute('SET LOCAL synchronous_commit = local')",
        "tests/servers/test_patroni.py::test_what_was_acknowledged_is_there_when_patroni_has_replaced_a_primary_that_was_killed", long=True,
    ),
    Mutant(
        "repetitions-told-what-the-standby-has-not", "PostgresDatabase.reopen",
        "self._confirm()", "self._unsure = ''",
        "tests/servers/test_standby.py::test_a_repetition_is_not_told_of_a_run_that_the_standby_may_not_have",
    ),
    Mutant(
        "local-commits-are-good-enough", "losing",
        "shown('synchronous_commit') == 'local'", "shown('synchronous_commit') == 'remote'",
        "tests/store/test_opening_on_postgres.py::test_a_database_that_may_lose_what_it_confirms_is_refused_unless_that_is_accepted",
    ),
    Mutant(
        "postgres-answered-before-the-commit", "Writer._transact",
        "uow.commit(self._messages)",
        "for command in done:\n"
        "    if self._loop and command.grows:\n"
        "        self._loop.call_soon_threadsafe(self._settle, [command], None)\n"
        "threading.Event().wait(0.2)\n"
        "uow.commit(self._messages)",
        "tests/faults/test_fail_points.py::test_a_write_that_is_killed_happens_entirely_or_not_at_all[writer.before_commit-start-postgres]",
    ),
    Mutant(
        "postgres-lost-races-unnoticed", "PostgresDatabase.settle",
        "cursor.rowcount != count", "False",
        SHARED + "test_one_idempotency_key_at_two_servers_starts_one_run",
    ),
    Mutant(
        "reports-wait-for-starts", "Store.write",
        "self.writers[-1] if command.trusts else self.writer", "self.writer",
        WRITERS + "test_a_report_does_not_wait_for_what_the_other_writer_does",
    ),
    Mutant(
        "writers-share-their-counters", "Writer._transact",
        "-self._definitions.counters.shard if self._second else None", "None",
        WRITERS + "test_the_counters_of_one_writer_are_no_lock_for_the_other",
    ),
    Mutant(
        "reports-wake-no-claims", "Store._reported",
        "self.writer.expect(committed.lanes)", "pass",
        WRITERS + "test_a_report_that_queues_its_run_again_wakes_the_claims_that_wait",
    ),
    Mutant(
        "counted-in-the-middle-of-a-commit", "Counters.read_between_commits",
        "self._commits == before and (not self._committing)", "True",
        WRITERS + "test_counters_that_are_read_while_the_other_writer_commits_are_read_again",
    ),
    Mutant(
        "copies-that-are-old-are-kept", "Writer._commit",
        "self._cache.clear()", "pass",
        WRITERS + "test_a_copy_that_has_become_old_is_read_again",
    ),
    Mutant(
        "limits-without-a-turn", "UnitOfWork.take_turn",
        "self.database.rows('lock_fact', name='limits')", "pass",
        SHARED + "test_claims_under_a_limit_wait_for_the_server_that_is_counting",
    ),
    Mutant(
        "lapses-though-another-hears", "EndSession.apply",
        "heard_by not in (None, self.server_id) and state != 'gone'", "False",
        SHARED + "test_a_worker_that_moves_to_another_server_keeps_its_leases",
    ),
    Mutant(
        "workers-of-a-dead-server-not-heard", "ServerBeat._take_place",
        "uow.execute('adopt_workers', server_id=server_id)", "pass",
        SHARED + "test_the_runs_of_a_dead_worker_of_a_dead_server_come_back",
    ),
    Mutant(
        "told-run-by-run", "Peers.messages",
        "return messages(...)",
        "return [text for run in announced.run_ids for text in messages(self.server_id, [run], (), ())]",
        SHARED + "test_what_a_batch_of_starts_has_changed_is_told_once",
    ),
    Mutant(
        "others-not-told", "Peers.messages",
        "return messages(...)", "return []",
        SHARED + "test_a_run_that_one_server_starts_goes_to_a_worker_that_waits_at_the_other",
    ),
    Mutant(
        "waiting-commands-lost-in-an-outage", "Writer._regain",
        "self._answer(_fail(self._take_all(), StorageUnavailable()) + self._drop_cancelled(), None)",
        "refused, self._todo = (_fail([*self._todo], StorageUnavailable()), deque())\n"
        "self._answer(refused + self._drop_cancelled(), None)",
        WRITING + "test_what_has_passed_the_gate_before_an_outage_is_carried_out_after_it",
    ),
    Mutant(
        "writer-stops-asking-silently", "Writer._run",
        "try:\n    ...\nexcept Exception as error:\n    ...\n    self._break(error)\nself._answer([*self._waiting], None)",
        "try:\n    ...\nexcept Exception as error:\n    ...\n    self._answer([*self._waiting], None)",
        WRITING + "test_a_writer_that_fails_answers_all_who_wait_and_says_so",
    ),
    Mutant(
        "one-answer-keeps-back-the-others", "Writer._settle",
        "isinstance(failure, StopIteration)", "False",
        WRITING + "test_whatever_a_command_raises_it_is_answered_and_so_are_those_after_it",
    ),
    Mutant(
        "loop-ends-with-what-it-waited-for", "Loop._tick",
        "task is None or task.cancelling()", "True",
        LOOPS + "test_a_loop_goes_on_whatever_a_tick_comes_to",
    ),
    Mutant(
        "loop-ends-by-its-own-fault", "Loop.start",
        "self._task.add_done_callback(self._ended)", "pass",
        LOOPS + "test_a_loop_goes_on_whatever_a_tick_comes_to",
    ),
    Mutant(
        "stopped-loop-begins-again", "Loop._begin_again",
        "if not self._stopped:\n    self.start()", "self.start()",
        LOOPS + "test_a_loop_that_is_stopped_between_two_lives_does_not_begin_again",
    ),
    Mutant(
        "pulse-backs-off-for-a-minute", "Loop._run",
        "self._back_off_max_s", "60.0",
        LOOPS + "test_after_failures_a_loop_waits_no_longer_than_it_may",
    ),
    Mutant(
        "silent-database-waited-for", "Connection.wait",
        "self.answer_within_s is None", "True",
        SILENT + "test_nobody_waits_for_ever_for_a_database_that_stands_still",
    ),
    Mutant(
        "listens-where-nobody-speaks", "Listener._listen",
        "either.select(LOOK_S)", "either.select()",
        SILENT + "test_who_listens_notices_that_nobody_speaks_any_more",
    ),
    Mutant(
        "ears-closed-by-any-failure", "Listener._run",
        "try:\n    ...\nexcept A as error:\n    ...\nexcept Exception:\n    ...\nelse:\n    ...",
        "try:\n    ...\nexcept A as error:\n    ...\nexcept KeyError:\n    ...\nelse:\n    ...",
        SILENT + "test_who_listens_tries_on_whatever_goes_wrong",
    ),
    Mutant(
        "ready-without-a-sign-of-life", "_readiness",
        "service.servers.silent_ms > SILENT_MS", "False",
        SHARED + "test_a_server_that_gives_no_sign_of_life_is_not_ready",
    ),
    Mutant(
        "pulse-counts-nothing", "ServerBeat.apply",
        "uow.counters.reload(uow.database)", "pass",
        SHARED + "test_a_sign_of_life_that_fails_anywhere_is_given_the_next_time_with_all_that_belongs_to_it",
    ),
    Mutant(
        "counts-below-zero", "Counters.above_zero",
        "n > 0", "n",
        SHARED + "test_no_count_is_shown_below_zero_though_others_runs_are_taken_before_they_are_counted",
    ),
    Mutant(
        "pulse-wakes-nobody", "Servers.pulse",
        "await self._wake_watchers()", "pass",
        SHARED + "test_what_is_not_heard_is_found_at_the_next_sign_of_life",
    ),
    Mutant(
        "watch-ends-with-the-database", "History.watch",
        "try:\n    ...\nexcept Unavailable:\n    ...", "try:\n    ...\nexcept ZeroDivisionError:\n    ...",
        SHARED + "test_who_watches_or_waits_goes_on_when_nothing_could_be_read_for_a_while",
    ),
    Mutant(
        "wait-ends-with-the-database", "Runs.wait",
        "try:\n    ...\nexcept Unavailable:\n    ...", "try:\n    ...\nexcept ZeroDivisionError:\n    ...",
        SHARED + "test_who_watches_or_waits_goes_on_when_nothing_could_be_read_for_a_while",
    ),
    Mutant(
        "watch-tells-again-after-an-outage", "History.watch",
        "event.seq", "event.seq - 1",
        OUTAGES + "test_nothing_is_lost_when_all_connections_are_cut_again_and_again",
    ),
    Mutant(
        "outage-counts-as-silence", "Service.__init__",
        "events.subscribe(StorageRegained, ...)", "pass",
        SHARED + "test_nobody_lapses_because_there_was_no_database_to_report_to",
    ),
    Mutant(
        "refused-lapse-is-for-ever", "Leases.lapse",
        "try:\n    ...\nexcept Unavailable:\n    session.over = False\n    raise\nfinally:\n    ...",
        "try:\n    ...\nexcept Unavailable:\n    raise\nfinally:\n    ...",
        SHARED + "test_a_worker_whose_end_could_not_be_written_goes_on_when_it_is_heard_again",
    ),
    Mutant(
        "outage-is-an-internal-error", "Writer._commit",
        "StorageUnavailable()", "error",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_the_database_is_killed",
    ),
    Mutant(
        "failed-commit-is-acknowledged", "Writer._commit",
        "_fail(batch, StorageUnavailable())", "batch",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_a_sync_of_the_database_fails",
    ),
    Mutant(
        "asks-again-though-not-let-in", "on_postgres",
        "try:\n    ...\nexcept LoginRefused as error:\n    ...\nexcept DatabaseGone as error:\n    ...",
        "try:\n    ...\nexcept ZeroDivisionError as error:\n    ...\nexcept DatabaseGone as error:\n    ...",
        OUTAGES + "test_a_server_that_is_not_let_in_says_why_and_does_not_wait",
    ),
    Mutant(
        "postgres-answered-before-the-commit-2", "Writer._transact",
        "uow.commit(self._messages)",
        "for command in done:\n"
        "    if self._loop and command.grows:\n"
        "        self._loop.call_soon_threadsafe(self._settle, [command], None)\n"
        "threading.Event().wait(0.2)\n"
        "uow.commit(self._messages)",
        OUTAGES + "test_nothing_is_lost_and_all_goes_on_when_one_of_two_servers_is_killed",
    ),
    Mutant(
        "database-has-to-be-there-first", "on_postgres",
        "return await _when_reachable(settings, sockets, tls, open_it, str(error))",
        "raise StoreRefused(str(error)) from error",
        OUTAGES + "test_a_server_that_comes_before_its_database_waits_and_serves_as_soon_as_it_is_there",
    ),
    Mutant(
        "waits-though-told-to-end", "_when_reachable",
        "not answering.done()", "True",
        OUTAGES + "test_a_server_that_waits_for_its_database_ends_at_once_when_it_is_told_to",
        also=("_when_reachable", "await asyncio.to_thread(open_it) if not stop.is_set() else None", "await asyncio.to_thread(open_it)"),
    ),
    Mutant(
        "waits-for-a-word-for-ever", "connect",
        "{name: text for name, text in _DEFAULTS.items() if name not in asked}",
        "_DEFAULTS | {'connect_timeout': '0'}",
        OUTAGES + "test_a_server_whose_database_says_nothing_ends_when_it_is_told_to",
    ),
    Mutant(
        "asks-again-though-not-let-in-2", "_when_reachable",
        "try:\n    ...\nexcept LoginRefused as error:\n    ...\nexcept DatabaseGone as error:\n    ...",
        "try:\n    ...\nexcept ZeroDivisionError as error:\n    ...\nexcept DatabaseGone as error:\n    ...",
        OUTAGES + "test_a_server_that_has_waited_and_is_then_not_let_in_says_why_and_ends",
    ),
    Mutant(
        "waits-until-somebody-makes-the-database", "gone",
        "LoginRefused(f'{where} has no database \"{found[1]}\": make it with  createdb {found[1]}  or name another')",
        "DatabaseGone(f'{where} has no database \"{found[1]}\": make it with  createdb {found[1]}  or name another')",
        OUTAGES + "test_a_server_whose_database_does_not_exist_says_how_to_make_it",
    ),
    Mutant(
        "store-of-the-future-is-used", "migrate",
        "max(done, default=0) > known[-1][0]", "False",
        OUTAGES + "test_a_server_that_is_older_than_its_store_says_so",
    ),
    Mutant(
        "stays-with-the-host-that-was-the-primary", "PostgresDatabase.__init__",
        "self._transaction: contextlib.ExitStack | None = None",
        "self._url = make_conninfo(url, host=self._connection.info.host, port=self._connection.info.port)\n"
        "self._transaction: contextlib.ExitStack | None = None",
        OUTAGES + "test_what_was_acknowledged_is_at_the_standby_when_the_primary_is_killed",
    ),
    Mutant(
        "wait-for-the-standby-that-was-ended-is-a-commit", "PostgresDatabase.commit",
        "if self._unsure:\n    ...", "if False:\n    ...",
        "tests/servers/test_standby.py::test_a_commit_whose_wait_for_the_standby_was_ended_is_not_acknowledged",
    ),
    Mutant(
        "clients-stay-where-nobody-is", "Servers.leave",
        "self._at = (self._at + 1) % len(self._each)", "pass",
        OUTAGES + "test_clients_that_know_both_servers_notice_nothing_when_both_are_restarted_in_turn",
    ),
    Mutant(
        "others-runs-are-shown", "Runs.get",
        "run is None or run.organisation != self._organisation", "run is None",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-get-running]",
    ),
    Mutant(
        "others-runs-are-changed", "ChangeRun.apply",
        "run is None or self.organisation not in (None, run.organisation)", "run is None",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-suspend-running]",
    ),
    Mutant(
        "others-tombstones-are-read", "Runs._missing",
        "stone is None or stone.organisation != self._organisation", "stone is None",
        OTHERS + "test_a_run_of_another_is_answered_as_one_that_is_not_there[sqlite-get-removed]",
    ),
    Mutant(
        "request-keys-of-all", "KeyedCommand.__init__",
        "namespace.qualify(request.key)", "request.key",
        OTHERS + "test_the_same_names_in_two_organisations_never_meet",
    ),
    Mutant(
        "families-of-all", "lists",
        "_BESIDE: Final = '@beside(organisation) = :organisation'", "_BESIDE: Final = ':organisation > 0'",
        OTHERS + "test_a_family_of_another_is_no_family",
    ),
    Mutant(
        "feed-of-all", "Reader.feed",
        "owners.get(row[1]) == organisation", "owners.get(row[1])",
        OTHERS + "test_the_feed_has_ones_own_events_and_its_cursor_passes_those_of_others",
    ),
    Mutant(
        "nobody-had-a-turn", "_take",
        "uow.definitions.serve", "list",
        OTHERS + "test_the_backlog_of_one_organisation_keeps_no_other_waiting",
    ),
    Mutant(
        "others-workers-are-heard", "Workers._session",
        "session.registration.worker.organisation != self._organisation", "False",
        OTHERS + "test_a_worker_of_another_is_answered_as_one_that_is_not_there",
    ),
    Mutant(
        "runs-before-their-slots", "Scheduler.settle_due_in",
        "if failpoints.ARMED and passed:\n    ...",
        "uow.seal()\n"
        "uow.database.commit()\n"
        "uow.database.begin()\n"
        "if failpoints.ARMED and passed:\n"
        "    ...",
        "tests/faults/test_schedules.py::test_a_server_that_is_killed_at_a_point_of_a_tick_has_decided_entirely_or_not_at_all[scheduler.before_save-sqlite]",
    ),
    Mutant(
        "only-some-slots-are-kept", "Scheduler.settle_due_in",
        "add_slots(uow, slots)", "add_slots(uow, slots[:10])",
        "tests/faults/test_schedules.py::test_many_schedules_that_fire_at_once_all_fire[100-sqlite]",
    ),
    Mutant(
        "what-passed-is-forgotten", "Scheduler.settle",
        "decide_slots(schedule, schedule.last_slot, uow.now_ms, running)",
        "decide_slots(schedule, max(schedule.last_slot, uow.now_ms - 1400), uow.now_ms, running)",
        "tests/faults/test_schedules.py::test_every_slot_is_decided_once_however_often_the_server_is_killed[sqlite-4]",
    ),
    Mutant(
        "nobody-has-a-turn", "let_next",
        "unblock(uow, run, BEHIND)", "del run",
        "tests/faults/test_schedules.py::test_runs_that_wait_for_each_other_go_one_by_one_across_kills[sqlite]",
    ),
    Mutant(
        "all-have-their-turn", "Scheduler.start",
        "action is Action.QUEUE", "False",
        "tests/faults/test_schedules.py::test_runs_that_wait_for_each_other_go_one_by_one_across_kills[sqlite]",
    ),
    Mutant(
        "turn-though-one-is-busy", "next_behind",
        "run.schedule_id not in busy", "busy is not None",
        "tests/features/schedules/test_schedules.py::test_the_next_has_its_turn_however_the_one_before_ends[sqlite-terminated while it waits]",
    ),
    Mutant(
        "slots-not-left-to-others", "sql:find_due_schedules",
        "LIMIT :limit @skip_locked(schedules);", "LIMIT :limit;",
        SCHEDULES + "test_a_server_that_stands_still_in_a_tick_decides_nothing_a_second_time",
    ),
    Mutant(
        "schedules-not-told", "SlotDue",
        "relay: ClassVar[str] = 'slot_at'", "relay: ClassVar[str] = ''",
        SCHEDULES + "test_a_schedule_that_one_server_makes_or_changes_wakes_the_other",
    ),
    Mutant(
        "bodies-may-take-for-ever", "Connection.data_received",
        "self._body_timer is None", "self._body_timer is None and self._shedder is None",
        HOSTILE + "test_what_drips_and_never_ends_is_cut_off_in_time[a body of known length]",
    ),
    Mutant(
        "bodies-may-take-for-ever-2", "Connection._look_at_body",
        "self._body_bytes >= BODY_SECONDS * BODY_BYTES_S", "True",
        HOSTILE + "test_a_crowd_that_drips_keeps_nobody_waiting_and_is_gone_in_time",
    ),
    Mutant(
        "bodies-have-one-time", "Connection._look_at_body",
        "self._body_bytes >= BODY_SECONDS * BODY_BYTES_S", "False",
        HOSTILE + "test_a_body_that_gets_on_is_taken_however_long_it_takes",
    ),
    Mutant(
        "everything-is-pipelined", "Connection.on_headers_complete",
        "len(self.pipeline) >= PIPELINED_MAX or self._last", "False",
        HOSTILE + "test_a_flood_of_pipelined_requests_is_cut_off_and_those_before_it_are_answered_in_order",
    ),
    Mutant(
        "refused-before-it-is-answered", "Connection._end_with",
        "if before:\n    self.flow.pause_reading()\nelse:\n    self._say_last_words()",
        "if False:\n    self.flow.pause_reading()\nelse:\n    self._say_last_words()",
        HOSTILE + "test_garbage_after_a_request_is_refused_after_its_answer",
    ),
    Mutant(
        "refused-before-it-is-answered-3", "Connection._end_with",
        "if before:\n    self.flow.pause_reading()\nelse:\n    self._say_last_words()",
        "if False:\n    self.flow.pause_reading()\nelse:\n    self._say_last_words()",
        HOSTILE + "test_a_head_that_is_too_large_is_refused_after_the_answer_to_what_came_before",
    ),
    Mutant(
        "bodies-count-as-heads", "Connection.data_received",
        "not self._others_before", "True",
        HOSTILE + "test_a_head_is_not_too_large_because_a_large_body_came_before_it",
    ),
    Mutant(
        "pages-not-looked-at", "_findings",
        "text != 'ok'", "not text",
        "tests/faults/test_damage.py::test_a_bit_that_flips_is_found_or_is_one_value_and_nothing_else[150]",
    ),
    Mutant(
        "rooms-are-called-otherwise", "ClaimRuns",
        "rooms: dict[Executor, Annotated[int, Meta(ge=0, le=100000)]] = {}",
        "rooms: dict[Executor, Annotated[int, Meta(ge=0, le=100000)]] = msgspec.field(default_factory=dict, name='places')",
        VERSIONS + "test_a_worker_of_an_earlier_version_is_served_as_it_was",
        also=("workers", "from msgspec import UNSET, Meta, Raw, UnsetType", "import msgspec\nfrom msgspec import UNSET, Meta, Raw, UnsetType"),
    ),
    Mutant(
        "token-is-called-otherwise", "Reply",
        "token: str = ''", "token: str = msgspec.field(default='', name='secret')",
        VERSIONS + "test_a_worker_of_an_earlier_version_is_served_as_it_was",
        also=("workers", "from msgspec import UNSET, Meta, Raw, UnsetType", "import msgspec\nfrom msgspec import UNSET, Meta, Raw, UnsetType"),
    ),
    Mutant(
        "nothing-beyond-what-is-known", "workers",
        "class StopSignal(Open, frozen=True, kw_only=True, omit_defaults=True):\n    ...",
        "class StopSignal(Open, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):\n"
        "    ...",
        VERSIONS + "test_a_worker_understands_a_server_of_another_version",
    ),
    Mutant(
        "notices-have-to-be-said", "WorkerOut",
        "notices: list[str] = []", "notices: list[str]",
        VERSIONS + "test_a_worker_understands_a_server_of_another_version",
    ),
    Mutant(
        "nothing-beyond-what-is-known-2", "workers",
        "class RetryOut(RetrySpec, frozen=True, kw_only=True, forbid_unknown_fields=False):\n    ...",
        "class RetryOut(RetrySpec, frozen=True, kw_only=True):\n    ...",
        VERSIONS + "test_no_answer_is_refused_by_a_client_for_what_it_says_beyond_what_is_known",
    ),
    Mutant(
        "texts-not-looked-at", "_findings",
        "yield from damaged", "pass",
        "tests/faults/test_damage.py::test_a_text_that_is_none_any_more_is_found",
    ),
    Mutant(
        "commit-in-the-middle-2", "UnitOfWork.commit",
        "self.seal()", "self.flush()\nself.database.commit()\nself.database.begin()\nself.seal()",
        "tests/faults/test_damage.py::test_a_bit_that_flips_in_the_log_leaves_what_was_before_it[30]",
    ),
    Mutant(
        "copied-without-its-log", "_copy",
        "with writing.backup('main', reading, 'main') as copying:\n"
        "    while not copying.done:\n"
        "        copying.step(PAGES_AT_ONCE)",
        "draft.write_bytes(Path(reading.filename).read_bytes())",
        "tests/faults/test_damage.py::test_a_backup_under_load_has_all_that_was_acknowledged_before_it_and_can_be_served",
    ),
    Mutant(
        "unreadable-is-well", "checkup",
        "('store', False, f\"the database cannot be read: {' '.join(str(error).split())}\")",
        "('store', True, f\"the database cannot be read: {' '.join(str(error).split())}\")",
        "tests/faults/test_damage.py::test_a_page_of_a_database_that_is_damaged_is_found_and_never_served_as_something_else",
    ),
    Mutant(
        "refused-before-it-is-answered-2", "Connection._end_with",
        "before = bool(self.pipeline)", "before = False",
        HOSTILE + "test_a_body_that_breaks_off_in_garbage_is_refused_after_those_before_it",
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(MUTANTS))
