"""Filters and sort orders of lists, and the query plans that they may have."""

from headway.kernel.run import State
from headway.store.lists import BY_END, AccessPath

PLANS = {
    "find_ready": "runs_ready",
    "find_unscathed": "runs_ready",
    "find_parked": "runs_parked",
    "find_parked_of_task": "runs_parked",
    "find_parked_due": "runs_parked_until",
    "find_due": "runs_due",
    "find_overdue": "runs_deadline",
    "find_expired": "runs_expiry",
    "find_leased": "runs_leased",
    "read_leases": "runs_leased",
    "live_counts": "runs_leased",
    "leased_workers": "runs_leased",
    "find_children": "runs_by_parent",
    "parents_among": "runs_by_parent",
    "position_in_lane": "runs_ready",
    "oldest_ready": "runs_ready",
    "read_events": "events_by_run",
    "read_events_of_type": "events_by_run",
    "read_run": "sqlite_autoindex_runs_1",
    "load_runs": "sqlite_autoindex_runs_1",
    "read_steps": "sqlite_autoindex_steps_1",
    "count_steps": "sqlite_autoindex_steps_1",
    "read_results": "sqlite_autoindex_results_1",
    "read_feed_of_runs": "events_by_run",
    "delete_run_labels": "run_labels_by_run",
    "prune_idempotency": "idempotency_expiry",
    "prune_tombstones": "tombstones_by_time",
    "load_schedule_named": "schedules_by_name",
    "read_schedule_named": "schedules_by_name",
    "read_schedules": "schedules_by_name",
    "read_schedules_of_task": "schedules_by_task",
    "read_soonest_schedules": "schedules_soonest",
    "lock_declared_schedules": "schedules_declared",
    "next_slot_at": "schedules_due",
    "find_due_schedules": "schedules_due",
    "slots_within": "sqlite_autoindex_slots_1",
    "read_slots": "sqlite_autoindex_slots_1",
    "read_slots_of_outcome": "slots_by_outcome",
    "prune_slots": "slots_by_decision",
    "oldest_decision": "slots_by_decision",
    "count_unfinished": "runs_of_schedule",
    "lock_unfinished": "runs_of_schedule",
    "find_unfinished": "runs_of_schedule",
    "find_next_behind": "runs_of_schedule",
    "busy_schedules": "runs_of_schedule",
}


SORTS = {
    "find_ready": "of the few that the lanes gave",
    "find_unscathed": "of the few that the lanes gave",
    "live_counts": "of the live leases",
    "read_feed_of_runs": "of the runs named",
    "find_next_behind": "of one run for each schedule",
    "count_unfinished": "of the schedules named",
    "lock_declared_schedules": "of the tasks named",
}
"""Statements that may sort, and what."""


FILTERS = {
    "nothing": ({}, "sqlite_autoindex_runs_1"),
    "a state": ({"state": (State.FAILED,)}, "runs_by_state"),
    "a task": ({"task": ("t",)}, "runs_by_task"),
    "a queue": ({"queue": ("q",)}, "runs_by_queue"),
    "a parent": ({"parent_id": "p"}, "runs_by_parent"),
    "a root": ({"root_id": "r"}, "runs_by_root"),
    "a key": ({"key": "k"}, "runs_by_key"),
    "a time": ({"created_before": 1}, "sqlite_autoindex_runs_1"),
    "a state and a time": ({"state": (State.FAILED,), "created_after": 1}, "runs_by_state"),
    "several states": ({"state": (State.FAILED, State.QUEUED)}, "runs_by_state (organisation=? AND state=? AND id"),
    "several tasks": ({"task": ("t", "u"), "created_after": 1}, "runs_by_task (organisation=? AND task=? AND id"),
    "several queues": ({"queue": ("t", "u")}, "runs_by_queue (organisation=? AND queue=? AND id"),
}


ACCESS_PATHS = [
    ({"task": ("t",), "state": (State.FAILED,)}, AccessPath("state"), "runs_by_state (organisation=? AND state=? AND id"),
    ({"task": ("t",), "state": (State.FAILED,)}, AccessPath("task"), "runs_by_task (organisation=? AND task=? AND id"),
    ({"queue": ("q",), "state": (State.FAILED,), "finished_after": 1}, AccessPath("queue"), "runs_by_queue (organisation=? AND queue=? AND id"),
    ({"labels": {"a": "b"}, "state": (State.FAILED,)}, AccessPath("state"), "runs_by_state (organisation=? AND state=? AND id"),
    ({"labels": {"a": "b", "c": "d"}}, AccessPath("label", "c"), "one USING COVERING INDEX sqlite_autoindex_run_labels_1 (name=? AND value=? AND run_id"),
    ({"finished_after": 1, "finished_before": 9}, BY_END, "runs_by_end (organisation=? AND state=? AND finished_at>? AND finished_at<?)"),
]  # fmt: skip
