"""Statements on PostgreSQL: all can be prepared, and the hot ones go by their index in a store of fifty thousand runs."""

import json
import re

import psycopg
import pytest
from tests.harness import START
from tests.store.plans import ACCESS_PATHS, FILTERS, PLANS, SORTS

from headway.kernel.query import Page, RunFilter
from headway.kernel.run import State
from headway.store import lists
from headway.store.lists import BY_END
from headway.store.postgres.dialect import BASE, POSTGRES
from headway.store.statements import load

STATEMENTS = load(POSTGRES)
RUNS = 50_000
FILL = f"""
INSERT INTO runs (
    id, task, task_version, name, state, queue, priority, key, max_attempts, input, labels, run_type, parent_id, root_id,
    protected, created_at, run_at, attempt, crashes, epoch, blocked_on, progress_done, progress_message, updated_at, seq,
    version, worker_id, started_at, finished_at, expires_at, deadline_at, parked_until
)
SELECT
    id, 't' || n % 20, '1', 'a name', state, 'q' || n % 5, n % 10, 'k' || n % 500, 3, '{{"a": 1}}', '{{}}', 'api',
    CASE WHEN n % 10 = 3 THEN r.root_id END, CASE WHEN n % 10 = 3 THEN r.root_id ELSE id END, n % 2, {START} + n, {START} + n,
    1, 0, 1, '[]', 0, '', {START} + n, 2, 2,
    CASE WHEN state = 'running' THEN 'w' || n % 50 END, {START} + n,
    CASE WHEN state IN ('succeeded', 'failed', 'terminated') THEN {START} + n END,
    CASE WHEN state IN ('succeeded', 'failed', 'terminated') THEN {START} + n END,
    CASE WHEN state IN ('running', 'suspended') THEN {START} + n END,
    CASE WHEN state = 'queued' AND n % 4 = 1 THEN {START} + n END
FROM (
    SELECT n, place(n) AS id, place(n - n % 100) AS root_id, CASE
        WHEN n % 100 < 70 THEN 'succeeded' WHEN n % 100 < 75 THEN 'failed' WHEN n % 100 < 78 THEN 'terminated'
        WHEN n % 100 < 80 THEN 'running' WHEN n % 100 < 82 THEN 'scheduled' WHEN n % 100 < 84 THEN 'suspended' ELSE 'queued'
    END AS state
    FROM generate_series(1, {RUNS}) AS n
) AS r;
INSERT INTO events SELECT n::bigint * 65536, place(n / 2), 1 + n % 2, 'run.state', {START}, '{{}}' FROM generate_series(2, {2 * RUNS}) AS n;
INSERT INTO steps SELECT place(n), 's' || s, '1', {START} FROM generate_series(1, {RUNS}, 5) AS n, generate_series(1, 5) AS s;
INSERT INTO results SELECT place(n), s, '', '1', {START} FROM generate_series(1, {RUNS}, 5) AS n, generate_series(1, 5) AS s;
INSERT INTO run_labels SELECT 'a', 'v' || n % 300, place(n) FROM generate_series(1, {RUNS}) AS n;
INSERT INTO run_labels SELECT 'c', 'd', place(n) FROM generate_series(1, {RUNS}, 900) AS n;
INSERT INTO tombstones SELECT place(n), {START} + n, 'deleted' FROM generate_series(1, {RUNS}) AS n;
INSERT INTO idempotency SELECT 'i' || n, 'f', '{{}}', {START} + n FROM generate_series(1, {RUNS}) AS n;
INSERT INTO dedupes SELECT 't1', 'd' || n, place(n), 'active', NULL FROM generate_series(1, {RUNS}) AS n;
INSERT INTO rates SELECT 't1', 'k' || n, {START} + n FROM generate_series(1, {RUNS}) AS n;
INSERT INTO workers SELECT 'w' || n, '', '', 1, '', '[]', '[]', 1, 'active', 1, 1, NULL FROM generate_series(1, 50) AS n;
UPDATE runs SET schedule_id = 's' || run_at % 500 WHERE run_at % 4 <> 0;
INSERT INTO schedules SELECT
    's' || n, 1 + n % 2, 'n' || n, 't' || n % 20, 0, CASE WHEN n % 10 = 7 THEN 1 ELSE 0 END, '{{}}', {START}, {START} + 1 + n, 1, 1, 1
FROM generate_series(1, {RUNS}) AS n;
INSERT INTO slots SELECT
    's' || n % 5, {START} + n, NULL, CASE WHEN n % 51 = 0 THEN 'skipped' ELSE 'ran' END, 'due', '',
    CASE WHEN n % 51 <> 0 THEN place(n) END, {START} + n
FROM generate_series(1, {RUNS}) AS n;
"""
"""A store of which each index is the best way to something: most runs have ended, some wait, few run."""


def place(n):
    """Return the id of the n-th run."""
    return f"01890000-0000-7000-8000-{n:012x}"


BINDS = {
    "id": place(700), "run_id": place(700), "parent_id": place(700), "root_id": place(700), "worker_id": "w3", "key": "k7",
    "task": "t7", "queue": "q2", "name": "s2", "type": "run.log", "first": "s", "marks": 0, "limit": 50,
    "organisation": 1, "schedule_id": "s3", "last": "t", "behind": "[]", "outcome": "skipped",
    "each": 50, "after": 0, "before": START + 10, "before_us": START, "leased_ms": START + 10, "now_ms": START + 10, "priority": 5, "run_at": START,
    "ids": json.dumps([place(n) for n in range(700, 750)]),
}  # fmt: skip
ROWS = {
    "find_ready": [["q1", "t1"], ["q2", "t7"]], "find_unscathed": [["q1", "t1"], ["q2", "t7"]],
    "oldest_ready": [["t7", priority] for priority in range(11)],
}  # fmt: skip
"""What else `rows` is, it has nothing in it: the planner does not look there."""
OWN = {
    "read_schedules": {"after": "n3"}, "read_schedules_of_task": {"after": "n3"}, "load_schedule_named": {"name": "n7"},
    "read_schedule_named": {"name": "n7"}, "read_slots": {"before": START + 30_000},
    "read_slots_of_outcome": {"before": START + 30_000, "outcome": "skipped"},
    "slots_within": {"first": START + 10, "last": START + 5_000},
    **{name: {"ids": '["t1","t2","t7"]'} for name in ("read_soonest_schedules", "lock_declared_schedules")},
    **{name: {"ids": '["s1","s2","s3"]'} for name in ("count_unfinished", "find_next_behind", "busy_schedules")},
}  # fmt: skip
"""Where a bind means another thing."""
NAMED_OTHERWISE = {"sqlite_autoindex_runs_1": "runs_pkey", "sqlite_autoindex_steps_1": "steps_pkey",
                   "sqlite_autoindex_results_1": "results_pkey", "sqlite_autoindex_slots_1": "slots_pkey"}  # fmt: skip
ALSO = {
    "save_claimed": "runs_pkey", "save_finished": "runs_pkey", "save_runs": "runs_pkey", "delete_runs": "runs_pkey",
    "delete_run_events": "events_by_run", "delete_run_steps": "steps_pkey", "delete_run_results": "results_pkey",
    "read_step": "steps_pkey", "last_result": "results_pkey", "read_tombstone": "tombstones_pkey", "read_feed": "events_pkey",
    "last_position": "events_pkey", "changed_since": "events_pkey", "read_idempotency": "idempotency_pkey",
    "read_dedupe": "dedupes_pkey", "read_rates": "rates_pkey", "find_ownerless": "runs_leased",
}  # fmt: skip
"""Hot statements about which SQLite leaves no doubt."""
OTHERWISE = {"find_parked_of_task": "runs_parked_until", "read_feed_of_runs": "events_pkey"}
"""Where statistics lead to another index: any will do that has the parked ones; a feed is read on from lately."""
WAYS = PLANS | ALSO | OTHERWISE
MAY_SORT = {
    **SORTS, "load_runs": "the runs named", "parents_among": "the parents named", "read_results": "the results of one run",
    "find_ownerless": "the workers", "prune_slots": "the oldest",
    "lock_unfinished": "the live runs of one schedule", "find_unfinished": "the live runs of one schedule",
}  # fmt: skip
SORTED = re.compile(r"^\s*(->\s+)?(Incremental )?Sort\b(?! Key)")
FOR_VALUES_ONLY = {"prune_idempotency", "prune_slots"}
"""The plan for any limit is dearer than that for the limit, so it is not taken."""
FORBIDDEN = re.compile(
    r"Seq Scan on (runs|events|steps|results|run_labels|tombstones|idempotency|dedupes|rates|schedules|slots)\b"
)


@pytest.fixture(scope="module")
def connection(postgres_cluster, _empty_store):
    name = postgres_cluster.create_database(template=_empty_store)
    with psycopg.connect(postgres_cluster.url(name), autocommit=True, prepare_threshold=None) as made:
        made.execute(
            "CREATE FUNCTION pg_temp.place(n bigint) RETURNS text IMMUTABLE LANGUAGE sql"
            " RETURN '01890000-0000-7000-8000-' || lpad(to_hex(n), 12, '0')"
        )
        made.execute(FILL.replace("place(", "pg_temp.place("))
        made.execute("SET jit = off")
        made.execute("SET headway.position_base = 0")
        made.execute("VACUUM ANALYZE")
        yield made
    postgres_cluster.drop_database(name)


def prepared(connection, sql):
    """Prepare a statement as a server does; return the names of its binds in their order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    for number, name in enumerate(names, 1):
        sql = sql.replace(f"%({name})s", f"${number}")
    connection.execute("DEALLOCATE ALL")
    connection.execute(f"PREPARE it AS {sql.replace('%%', '%')}")
    return names


def plan(connection, sql, binds, mode):
    """Return the lines of the plan: for these values, or the one that serves all values."""
    connection.execute(f"SET plan_cache_mode = {mode}")
    names = prepared(connection, sql)
    with psycopg.ClientCursor(connection) as cursor:
        given = f"({', '.join(f'%({name})s' for name in names)})" if names else ""
        return [line for (line,) in cursor.execute(f"EXPLAIN (COSTS OFF) EXECUTE it{given}", binds)]


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def mode(request):
    """How the planner takes the binds: as what they are, as at first, or as anything, as after some time."""
    return request.param


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_can_be_prepared(connection, name):
    assert prepared(connection, STATEMENTS[name]) is not None


@pytest.mark.parametrize("name", WAYS)
def test_a_hot_statement_goes_by_its_index(connection, name, mode):
    if name in FOR_VALUES_ONLY:
        mode = "force_custom_plan"
    index = NAMED_OTHERWISE.get(WAYS[name], WAYS[name])
    lines = plan(
        connection, STATEMENTS[name], {**BINDS, **OWN.get(name, {}), "rows": json.dumps(ROWS.get(name, []))}, mode
    )
    assert any(re.search(rf"\b{index}\b", line) for line in lines), "\n".join(lines)
    assert not [line for line in lines if FORBIDDEN.search(line)], "\n".join(lines)
    assert name in MAY_SORT or not any(map(SORTED.match, lines)), "\n".join(lines)


def test_what_the_loops_ask_at_each_tick_is_four_probes(connection, mode):
    lines = "\n".join(plan(connection, STATEMENTS["next_due"], {}, mode))
    for index in ("runs_due", "runs_deadline", "runs_parked_until", "runs_expiry"):
        assert f"Index Only Scan using {index} " in lines or f"Index Scan using {index} " in lines, lines
    assert "Seq Scan" not in lines


VALUES = {"t": "t7", "u": "t8", "q": "q2", "p": place(700), "r": place(700), "k": "k7", "b": "v7"}
"""What the filters of the tests for files say, as it is in this store."""


def meant(fields):
    def one(value):
        if isinstance(value, tuple):
            return tuple(map(one, value))
        if isinstance(value, dict):
            return {name: one(text) for name, text in value.items()}
        return value if isinstance(value, State) else VALUES.get(value, value)

    times = {"created_after": START + 100, "created_before": START + RUNS - 100, "finished_after": START + RUNS - 500,
             "finished_before": START + RUNS}  # fmt: skip
    return {name: times.get(name, one(value)) for name, value in fields.items()}


def listed(connection, fields, access_path, mode, *, newest_first, edge=""):
    wanted = RunFilter(**meant(fields))
    after = place(RUNS - 10) if newest_first else place(10)
    sql, binds = lists.page(
        POSTGRES, wanted, Page(50, after, newest_first), 51, access_path or lists.access_paths(wanted)[0], edge
    )
    return plan(connection, sql, binds, mode)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("name", FILTERS)
def test_a_page_goes_by_the_index_of_its_filter_or_of_the_ids(connection, name, newest_first, mode):
    """Of what is frequent and lies everywhere, as here, the index of the ids has a page as soon."""
    fields, index = FILTERS[name]
    index = NAMED_OTHERWISE.get(index, index.partition(" ")[0])
    lines = listed(connection, fields, None, mode, newest_first=newest_first)
    assert any(re.search(rf"\b({index}|runs_pkey)\b", line) for line in lines), "\n".join(lines)
    assert not [line for line in lines if FORBIDDEN.search(line)], "\n".join(lines)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("fields", "access_path"), [(fields, access_path) for fields, access_path, _ in ACCESS_PATHS])
def test_a_page_within_a_window_looks_at_no_whole_table(connection, fields, access_path, newest_first, mode):
    edge = place(RUNS - 2_000) if newest_first else place(2_000)
    lines = listed(connection, fields, access_path, mode, newest_first=newest_first, edge=edge)
    assert not [line for line in lines if FORBIDDEN.search(line)], "\n".join(lines)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("state", [(), (State.FAILED,), (State.FAILED, State.SUCCEEDED, State.QUEUED)])
def test_a_list_by_the_end_is_merged_from_its_index(connection, state, newest_first, mode):
    wanted = RunFilter(finished_after=START + 1, finished_before=START + RUNS, state=state)
    for after in (None, f"{START + 25_000:015} {place(25_000)}"):
        sql, binds = lists.page(POSTGRES, wanted, Page(50, after, newest_first, by_end=True), 51, BY_END)
        lines = plan(connection, sql, binds, mode)
        assert not any(map(SORTED.match, lines)), "\n".join(lines)
        assert not [line for line in lines if "Seq Scan" in line], "\n".join(lines)
        assert len([line for line in lines if "runs_by_end" in line]) == len(lists._ended(wanted))


def test_the_binds_of_the_tests_are_those_of_the_statements():
    assert BASE in STATEMENTS["read_feed"]
    named = {bind for name in WAYS for bind in re.findall(r"%\((\w+)\)s", STATEMENTS[name])}
    assert named <= {*BINDS, "rows"}
