"""The engine is the oracle: the store and `decide` agree on everything.

The space is small, so it is walked whole: every run that can exist, every event. What the engine forbids changes no row.
"""

import pytest
from msgspec.structs import asdict, replace
from tests.reachable import EVENTS, STORIES, TASKS

from headway.clock import ManualClock
from headway.errors import InvalidState
from headway.kernel.run import LEASED, State
from headway.runs.transitions import move
from headway.store.definition_cache import DefinitionCache
from headway.store.postgres.open import open_postgres
from headway.store.sqlite.open import open_memory
from headway.store.unit_of_work import UnitOfWork, make_run


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request):
    if request.param == "sqlite":
        store = open_memory(ManualClock())
    else:
        cluster = request.getfixturevalue("postgres_cluster")
        url = cluster.url(cluster.create_database())
        store = open_postgres(url, ManualClock(), threaded=False, server_id="s", host="h", pid=1, version="0")
    yield store.read.near
    store.read.near.close()


@pytest.fixture
def began(database):
    """Begin a transaction over a store that has one run; it is undone afterwards."""

    def begin(story):
        database.rollback()
        database.begin()
        definitions = DefinitionCache()
        definitions.tasks.update(TASKS)
        first = UnitOfWork(database, definitions, {}, story.now_ms)
        newborn = replace(story.born, state=State.QUEUED, parked_until=None)
        first.insert(newborn, {"a": "b"})
        first.save(story.run, newborn)
        first.seal()
        return UnitOfWork(database, definitions, {}, story.now_ms)

    yield begin
    database.rollback()


def stored(database, run):
    (row,) = database.rows("read_run", id=run.id)
    return make_run(row)


def dump(database):
    tables = (
        "runs",
        "events",
        "counters",
        "steps",
        "results",
        "run_labels",
        "dedupes",
        "rates",
        "queues",
        "tombstones",
    )
    return [database.select(f"SELECT * FROM {table} ORDER BY 1, 2, 3", {}) for table in tables]


def decided(story, name):
    """Return the run as the engine has it after the event, or None; the store adds a number and a version."""
    try:
        after = story.after(name)
    except InvalidState:
        return None
    return replace(after, seq=story.run.seq + 1, version=story.run.version + 1)


@pytest.mark.parametrize("name", EVENTS)
def test_the_store_agrees_with_the_engine_on_every_column(database, began, name):
    for story in STORIES:
        expected = decided(story, name)
        if expected is None:
            continue
        uow = began(story)
        before = uow.run(story.run.id)
        assert story.run == before
        returned = move(uow, before, EVENTS[name])
        uow.seal()
        assert asdict(expected) == asdict(returned) == asdict(stored(database, expected)), str(story)
        kept = {place: n for *place, n in database.rows("read_counters") for place in [tuple(place)]}
        assert {(expected.task, expected.queue, expected.state): 1} == kept
        assert [(2, "run.state")] == [
            (row[2], row[3]) for row in database.rows("read_events", run_id=expected.id, after=1, limit=9)
        ]


@pytest.mark.parametrize("name", EVENTS)
def test_what_the_engine_forbids_changes_no_row(database, began, name):
    for story in STORIES:
        if decided(story, name) is not None:
            continue
        uow = began(story)
        before = dump(database)
        with pytest.raises(InvalidState):
            move(uow, uow.run(story.run.id), EVENTS[name])
        assert 0 == uow.changes
        uow.seal()
        assert before == dump(database)


@pytest.mark.parametrize("second", EVENTS)
def test_two_steps_in_one_transaction_are_as_two_in_two(database, began, second):
    """This catches a save that writes too few columns because the one before it wrote few."""
    for story in STORIES:
        if story.run.state not in LEASED:
            continue
        for first in EVENTS:
            middle = decided(story, first)
            if middle is None:
                continue
            expected = decided(replace(story, run=middle, events=(*story.events, first)[:-1]), second)
            if expected is None:
                continue
            uow = began(story)
            move(uow, move(uow, uow.run(story.run.id), EVENTS[first]), EVENTS[second])
            uow.seal()
            assert asdict(expected) == asdict(stored(database, expected)), f"{story} > {first}"


def test_every_save_in_its_own_shape_says_the_same_as_the_full_one(database, began):
    """A column that a transition changes and its shape leaves out would be lost."""
    for story in STORIES:
        for name in EVENTS:
            expected = decided(story, name)
            if expected is None:
                continue
            uow = began(story)
            move(uow, uow.run(story.run.id), EVENTS[name])
            uow.flush()
            lean = stored(database, expected)
            uow.save(expected, expected)
            uow.flush()
            assert stored(database, expected) == lean
