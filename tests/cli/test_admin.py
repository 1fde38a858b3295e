"""Stores and backups that are not there or not what they should be: a sentence each, and nothing is changed."""

import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import urllib.parse

import psycopg
import pytest
from tests.faults.waiting import until
from tests.harness import on_disk

from headway.store.location import secret_of, shown


@pytest.fixture
def store(tmp_path):
    """A store that no server has open."""
    import asyncio

    async def make():
        harness = on_disk(tmp_path / "headway.db")
        await harness.close()

    asyncio.run(make())
    return tmp_path / "headway.db"


def not_stores(folder, store):
    """Return files of every kind that is not a store, by what they are."""
    whole = store.read_bytes()
    (folder / "text").write_text("hello\n" * 3000)
    (folder / "empty").touch()
    (folder / "short").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged").write_bytes(whole[:200] + bytes(4000) + whole[4200:])
    (folder / "folder").mkdir()
    other = sqlite3.connect(folder / "other")
    other.execute("CREATE TABLE migrations (number)")
    other.close()
    return [folder / name for name in ("text", "empty", "short", "damaged", "folder", "other", "nowhere", "no/where")]


def in_one_sentence(said):
    return said.startswith("Error: ") and said.count("\n") == 1 and "Traceback" not in said


def test_what_is_not_a_store_is_not_restored(headway, store, tmp_path):
    for file in not_stores(tmp_path, store):
        target = tmp_path / "new" / f"{file.name}.db"
        code, out, err = headway("restore", str(file), "--store", f"sqlite:///{target}", "--make-folder")
        assert (code, out, in_one_sentence(err), target.exists()) == (1, "", True, False), (file, err)


def test_what_is_not_a_store_is_not_backed_up(headway, store, tmp_path):
    for file in not_stores(tmp_path, store):
        code, out, err = headway("backup", str(tmp_path / "copy"), "--store", f"sqlite:///{file}")
        assert (code, out, in_one_sentence(err), (tmp_path / "copy").exists()) == (1, "", True, False), (file, err)


@pytest.mark.parametrize("verify", [(), ("--verify",)])
def test_the_doctor_says_what_is_wrong_with_it(headway, store, tmp_path, verify):
    for file in not_stores(tmp_path, store):
        code, out, err = headway("doctor", *verify, "--store", f"sqlite:///{file}")
        assert (code, err) == (1, ""), (file, err)
        assert "FAIL" in out, file


@pytest.mark.parametrize("data", ["{", "{}", "[]", "1", '{"state": 1, "from": []}'])
def test_a_row_that_cannot_be_read_is_a_finding(headway, store, data):
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("INSERT INTO events VALUES (99, 'a', 1, 'run.state', 1, ?)", [data])
        connection.commit()
    code, out, err = headway("doctor", "--verify", "--store", f"sqlite:///{store}")
    assert (code, err) == (1, "")
    assert "FAIL" in out


def test_a_row_that_upsets_the_check_itself_is_a_finding_too(headway, store, monkeypatch):
    def upset(*_):
        yield "one finding"
        raise KeyError("odd")

    monkeypatch.setattr("headway.store.sqlite.checkup.verify_rows", upset)
    code, out, _ = headway("doctor", "--verify", "--store", f"sqlite:///{store}")
    assert code == 1
    assert out.splitlines()[-2:] == ["FAIL  verify: one finding", "FAIL  verify: a row cannot be read: KeyError: 'odd'"]


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_restore_onto_a_store_says_what_to_do_first(headway, store, tmp_path, suffix):
    headway("backup", str(tmp_path / "copy"), "--store", f"sqlite:///{store}")
    if suffix:
        store.rename(tmp_path / "away")
        (tmp_path / "headway.db-wal").write_bytes(b"the log of a store that was moved away without it")
    code, _, err = headway("restore", str(tmp_path / "copy"), "--store", f"sqlite:///{store}")
    assert code == 1
    assert err == f"Error: {store}{suffix} exists: stop the server that uses it and move that store away first\n"


def test_a_restore_makes_the_folder_if_it_is_asked_to(headway, store, tmp_path):
    headway("backup", str(tmp_path / "copy"), "--store", f"sqlite:///{store}")
    target = tmp_path / "a" / "b" / "new.db"
    command = ("restore", str(tmp_path / "copy"), "--store", f"sqlite:///{target}")
    code, _, err = headway(*command)
    assert (code, f"there is no folder {target.parent}: say --make-folder" in err, target.parent.exists()) == (
        6,
        True,
        False,
    )
    assert headway(*command, "--make-folder")[0] == 0
    assert headway("doctor", "--verify", "--store", f"sqlite:///{target}")[0] == 0


def test_a_backup_into_no_folder_is_said_so(headway, store, tmp_path):
    code, _, err = headway("backup", str(tmp_path / "no" / "copy"), "--store", f"sqlite:///{store}")
    assert (code, err) == (1, f"Error: there is no folder {tmp_path / 'no'}\n")


@pytest.mark.parametrize("command", [("doctor",), ("backup", "copy"), ("restore", "copy")])
@pytest.mark.parametrize("url", ["headway.db", "postgresql:/x/y", "sqlite:///:memory:"])
def test_a_store_that_cannot_be_one_is_wrong_usage(headway, tmp_path, monkeypatch, command, url):
    monkeypatch.chdir(tmp_path)
    code, out, err = headway(*command, "--store", url)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_the_secret_is_its_owners_alone(tmp_path):
    store = tmp_path / "x.db"
    secret = secret_of(store, "")
    assert secret == secret_of(store, "")
    assert stat.S_IMODE(store.with_name("x.db.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", ["", "ab" * 8, "no key"])
def test_a_damaged_secret_is_said_in_a_sentence_and_never_replaced(tmp_path, kept):
    path = tmp_path / "x.db.key"
    path.write_text(kept)
    with pytest.raises(ValueError, match=r"x\.db\.key is not a key as Headway writes one: put it back from a backup"):
        secret_of(tmp_path / "x.db", "")
    assert path.read_text() == kept


@pytest.mark.parametrize("command", [("backup", "copy"), ("restore", "copy")])
def test_a_database_is_copied_with_its_own_tools(headway, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, out, err = headway(*command, "--store", "postgresql://ada:secret@h/d")
    assert (code, out) == (2, "")
    assert "copy a database with pg_dump and pg_restore, or with pg_basebackup" in err
    assert "secret" not in err


# -- a store moves -------------------------------------------------------------------------------------------------------------


def test_a_store_is_moved_and_the_doctor_finds_nothing(headway, store, postgres_url):
    code, out, err = headway("migrate-store", f"sqlite:///{store}", postgres_url)
    assert (code, err) == (0, "")
    assert "the same at both ends" in out
    assert f"headway serve --store {postgres_url}" in out
    assert headway("doctor", "--verify", "--store", postgres_url)[0] == 0
    code, out, _ = headway("migrate-store", f"sqlite:///{store}", postgres_url)
    assert code == 0
    assert "was moved into" in out


def test_a_move_says_in_json_what_was_moved(headway, store, postgres_url):
    code, out, err = headway("migrate-store", f"sqlite:///{store}", postgres_url, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["rows"] == sum(table["rows"] for table in report["tables"])
    assert {"runs", "events", "counters"} <= {table["table"] for table in report["tables"]}
    assert (report["resumed"], report["already"]) == (False, False)


@pytest.mark.parametrize(
    "ends",
    [
        ("sqlite:///a.db", "sqlite:///b.db"),
        ("postgresql://h/a", "postgresql://h/b"),
        ("postgresql://h/a", "sqlite:///b.db"),
        ("sqlite:///:memory:", "postgresql://h/b"),
        ("a.db", "postgresql://h/b"),
        ("sqlite:///a.db", "b"),
    ],
)
def test_a_move_from_or_to_what_it_is_not_for_is_wrong_usage(headway, tmp_path, monkeypatch, ends):
    monkeypatch.chdir(tmp_path)
    code, out, err = headway("migrate-store", *ends)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_move_that_is_refused_is_a_conflict(headway, tmp_path, postgres_url):
    code, out, err = headway("migrate-store", f"sqlite:///{tmp_path / 'no.db'}", postgres_url)
    assert (code, out, err) == (6, "", f"Error: there is no store at {tmp_path / 'no.db'}\n")


def test_a_move_shows_how_far_it_is_where_a_person_looks(headway, store, postgres_url, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = headway("migrate-store", f"sqlite:///{store}", postgres_url)
    assert code == 0
    assert "copying" in err
    assert "reading both again" in err
    assert "copying" not in out


@pytest.mark.timeout(120)
def test_a_move_that_a_person_stops_says_how_to_go_on(store, postgres_url):
    """It waits for its turn at the database, which is a moment to press Ctrl-C."""
    turn = 0x6865_6164_7761_7932
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database WHERE locktype = 'advisory' AND NOT granted"
    )
    with psycopg.connect(postgres_url, autocommit=True) as side:
        side.execute("SELECT pg_advisory_lock(%s)", (turn,))
        moving = subprocess.Popen(
            [sys.executable, "-m", "headway", "migrate-store", f"sqlite:///{store}", postgres_url],
            env={**os.environ, "PYTHONPATH": "src"}, stderr=subprocess.PIPE, text=True,
            # What a shell puts into the background ignores Ctrl-C, and so does all that it begins: these tests, and this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no other thread is at work
        )  # fmt: skip
        query = f"{waiting} AND datname = current_database()"
        until(lambda: side.execute(query).fetchone() == (1,), 30, "the move waits for its turn")
        moving.send_signal(signal.SIGINT)
        _, err = moving.communicate(timeout=30)
    assert moving.returncode == 130
    assert "the same command continues it" in err
    assert "Traceback" not in err


# -- what stands in the way of a database --------------------------------------------------------------------------------------


def _guarded(cluster):
    """Return the parts of the URL of a user who is asked for a password."""
    with contextlib.suppress(Exception):  # the user of another test
        cluster.create_user("ada", "s3cret-of-ada")
    return urllib.parse.urlsplit(cluster.url("postgres"))


TROUBLE = {
    "postgresql://ada:wr0ng-of-ada@{host}:{port}/postgres": "refuses the password of ada: put the right one into the URL",
    "postgresql://ada@{host}:{port}/postgres": "refuses the password of ada",
    "postgresql://ada:s3cret-of-ada@{host}:{port}/nowhere": 'has no database "nowhere": make it with  createdb nowhere',
    "postgresql://nobody:s3cret-of-ada@{host}:{port}/postgres": 'lets no user "nobody" in',
    "postgresql://ada:s3cret-of-ada@{host}:1/postgres": "port 1, cannot be reached: is it running",
    "postgresql://ada:s3cret-of-ada@nowhere.invalid/d": "there is no host nowhere.invalid",
    "postgresql://ada:s3cret@of-ada@nowhere.invalid/d": "there is no host nowhere.invalid",
    "postgresql://ada:s3cret-of-ada@{host}:1,{host}:2/d": "none of postgresql://ada:***@{host}:1,{host}:2/d takes writes",
    "postgresql://ada:s3cret-of-ada@{host}:{port}/postgres?sslmode=require": "cannot be used: ",
}


@pytest.mark.parametrize("url", TROUBLE)
def test_what_stands_in_the_way_is_said_in_a_sentence_and_without_the_password(headway, postgres_cluster, store, url):
    parts = _guarded(postgres_cluster)
    deployment = {"host": parts.hostname, "port": parts.port}
    expected = TROUBLE[url].format(**deployment)
    code, out, err = headway("doctor", "--store", url.format(**deployment))
    assert (code, err, out.count("FAIL")) == (1, "", 1)
    assert expected in out
    code, told, err = headway("migrate-store", f"sqlite:///{store}", url.format(**deployment))
    assert (code, told) == (4, "")
    assert in_one_sentence(err)
    assert expected in err
    assert headway("keys", "create", "admin", "--store", url.format(**deployment)) == (4, "", err)
    for word in ("of-ada", "s3cret"):
        assert word not in out + err


BAD = {
    "postgresql://ada:s3%zzcret@h/d": "is not the URL of a database; write",
    "postgresql://ada:s3cret@h/d?nono=1": '"nono"); write',
    "postgresql://ada:s3cret@127.0.0.1:abc/d": "is not the URL of a database (look at its port); write",
    "postgresql://ada:s3cret@127.0.0.1:99999/d": "is not the URL of a database (look at its port); write",
    "postgresql://ada:s3cret@127.0.0.1:1,127.0.0.1:2:3/d": "is not the URL of a database (look at its port); write",
    "postgresql://ada:s3/cret@h/d": "is not the URL of a database (look at its port); write",
    "postgresql://ada:s3cret@127.0.0.1/d?sslmode=maybe": "is not the URL of a database (look at its sslmode); write",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_url_that_the_driver_cannot_read_is_wrong_usage(headway, bad):
    code, out, err = headway("doctor", "--store", bad)
    assert (code, out) == (2, "")
    assert BAD[bad] in err
    assert "s3" not in err


def test_a_user_who_may_make_nothing_is_told_so(headway, postgres_cluster, postgres_url):
    _guarded(postgres_cluster)
    deployment = postgres_url.partition("@")[2]
    code, out, err = headway("keys", "create", "admin", "--store", f"postgresql://ada:s3cret-of-ada@{deployment}")
    assert (code, out) == (6, "")
    assert in_one_sentence(err)
    assert "refuses this user something that Headway needs: " in err


def test_a_driver_that_is_missing_is_named(store):
    code = "import sys; sys.modules['psycopg'] = None; from headway.cli.main import main; main(sys.argv[1:])"
    for arguments in (
        ["doctor", "--store", "postgresql://h/d"],
        ["migrate-store", f"sqlite:///{store}", "postgresql://h/d"],
        ["keys", "create", "admin", "--store", "postgresql://h/d"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": "src"}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 6
        assert in_one_sentence(done.stderr)
        assert "pip install 'headway[postgres]'" in done.stderr


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ada:b@h/d", "postgresql://ada:***@h/d"),
        ("postgres://ada:b:c/d@e@h:5/d", "postgres://ada:***@h:5/d"),
        ("postgresql://ada:a,b@h1:5,h2:6/d?user=x@y", "postgresql://ada:***@h1:5,h2:6/d?user=x@y"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("postgresql://ada@h:5432/d", "postgresql://ada@h:5432/d"),
        (
            "postgresql://h/d?password=a&sslpassword=b&sslmode=c",
            "postgresql://h/d?password=***&sslpassword=***&sslmode=c",
        ),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url, expected):
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("surface", "path"),
    [
        ((), "/v1/runs"),
        (("--surface", "tadabase"), "/api/v1/tasks"),
        (("--surface", "cloudcoin"), "/get-task-status/{id}"),
    ],
)
def test_the_document_of_each_surface_is_printed(headway, surface, path):
    code, out, err = headway("openapi", *surface)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert path in found["paths"]
    assert len({route.split("/")[1] for route in found["paths"]} & {"v1", "api"}) == 1


def test_a_surface_that_there_is_not_is_wrong_usage(headway):
    code, out, err = headway("openapi", "--surface", "ricloud")
    assert (code, out) == (2, "")
    assert "cloudcoin, native, tadabase" in err
