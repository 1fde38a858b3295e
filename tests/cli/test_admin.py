"""Stores and backups that are not there or not what they should be: a sentence each, and nothing is changed."""

import contextlib
import sqlite3
import stat

import pytest
from tests.world import on_disk

from headway.storage.location import secret_of


@pytest.fixture
def store(tmp_path):
    """A store that no server has open."""
    import asyncio

    async def make():
        world = on_disk(tmp_path / "headway.db")
        await world.close()

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
        code, out, err = headway("restore", str(file), "--store", f"sqlite:///{target}")
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
    def upset(_):
        yield "one finding"
        raise KeyError("odd")

    monkeypatch.setattr("headway.storage.sqlite.checkup.verify_rows", upset)
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


def test_a_restore_makes_the_folder(headway, store, tmp_path):
    headway("backup", str(tmp_path / "copy"), "--store", f"sqlite:///{store}")
    target = tmp_path / "a" / "b" / "new.db"
    assert headway("restore", str(tmp_path / "copy"), "--store", f"sqlite:///{target}")[0] == 0
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


def test_the_secret_is_kept_in_a_folder_that_is_made_and_is_its_owners_alone(tmp_path):
    store = tmp_path / "a" / "b" / "x.db"
    secret = secret_of(store, "")
    assert secret == secret_of(store, "")
    assert stat.S_IMODE(store.with_name("x.db.key").stat().st_mode) == 0o600
