"""Schedules beside functions: declared as they are meant, and refused where they stand."""

import socket
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headway.protocol.times import from_text
from headway.worker.declaration.app import App


def test_the_worker_declares_what_stands_above_its_functions(start):
    app = App()

    @app.schedule("Daily", name="early", starts_at=datetime(2030, 1, 1, 6, tzinfo=UTC), jitter=timedelta(minutes=5))
    @app.schedule("0 22 * * *", timezone="Asia/Kathmandu", input={"n": 2}, overlap="queue", labels={"a": "b"})
    @app.task(queue="q")
    async def double(n: int = 1) -> int:
        return 2 * n

    works = start(app)
    works.link.until(lambda: works.link.hellos)
    hello = works.link.hellos[0]
    late, early = hello.schedules
    assert (late.name, late.task, late.occurrence, late.timezone) == (
        "double",
        "double",
        "0 22 * * *",
        "Asia/Kathmandu",
    )
    assert (msgspec.json.decode(late.input), late.overlap, late.labels) == ({"n": 2}, "queue", {"a": "b"})
    assert (early.name, early.starts_at, early.jitter) == ("early", "2030-01-01T06:00:00.000Z", "5m")
    assert abs(from_text(hello.started_at) / 1000 - datetime.now(UTC).timestamp()) < 600
    assert double.function.__name__ == "double"
    assert socket.gethostname() == hello.host


def app_of_one():
    app = App()

    @app.task
    async def backup(folder: str) -> None: ...

    return app, backup


@pytest.mark.parametrize(
    ("occurrence", "options", "said"),
    [
        ("0 25 * * *", {}, "hour"),
        ("Fortnightly", {}, "Fortnightly"),
        ("Daily", {"timezone": "Europe/Berlim"}, "Berlim"),
        ("Daily", {"input": {}}, "folder"),
        ("Daily", {"input": {"folder": 1}}, "folder"),
        ("Daily", {"input": {"folder": "a", "other": 1}}, "other"),
        ("Daily", {"overlap": "wait"}, "wait"),
        ("Daily", {"starts_at": "later"}, "later"),
        ("Daily", {"jitter": "a while"}, "a while"),
        ("Daily", {"jitter": "3 days"}, "jitter"),
        ("Daily", {"queue_max": 0}, "queue_max"),
        ("Daily", {"zone": "UTC"}, "zone"),
        ("FREQ=DAILY;COUNT=3", {}, "COUNT"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(occurrence, options, said):
    app, backup = app_of_one()
    with pytest.raises(TypeError, match=said):
        app.schedule(occurrence, **{"input": {"folder": "/srv"}} | options)(backup)
    assert app.schedules == {}


def test_it_stands_above_a_task_of_the_same_app_and_has_a_name_of_its_own():
    app, backup = app_of_one()
    other, _ = app_of_one()
    for wrong in (lambda: None, other.tasks["backup"]):
        with pytest.raises(TypeError, match="stands above"):
            app.schedule("Daily")(wrong)
    app.schedule("Daily", input={"folder": "/srv"})(backup)
    with pytest.raises(TypeError, match="twice"):
        app.schedule("Hourly", input={"folder": "/srv"})(backup)
    app.schedule("Hourly", name="more", input={"folder": "/srv"})(backup)
    assert list(app.schedules) == ["backup", "more"]
