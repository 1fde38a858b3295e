"""The secret beside a store: whatever is wrong with it, the server that refuses and the doctor say the same."""

import contextlib
import os
import subprocess
import sys

import msgspec
import pytest
from tests.faults.server import ROOT, Server
from tests.faults.waiting import until

from headway.cli.exits import Exit
from headway.client.errors import ConnectionLost
from headway.serving import offline
from headway.serving.serve import FAILED


def headway(deployment, *arguments, **environment):
    """Call the command line in a process of its own."""
    command = [sys.executable, "-m", "headway", *arguments, "--store", deployment.store_url]
    return subprocess.run(
        command, cwd=ROOT, env=deployment.environment(**environment), capture_output=True, text=True, check=False
    )


def key_of(deployment):
    return deployment.store.with_name(deployment.store.name + ".key")


@pytest.fixture
def locked(deployment):
    """A store with a key for callers, which nobody serves."""
    made = headway(deployment, "keys", "create", "admin", "--scope", "all")
    assert made.returncode == 0, made.stderr
    deployment.admin = made.stdout.strip()
    return deployment


def refusal_of(deployment, **environment):
    """Start a server that has to refuse; return what it said."""
    before = len(deployment.logged())
    server = Server(deployment).start(ready=False, **environment)
    assert server.process.wait(20) == FAILED
    said = deployment.logged()[before:]
    assert said.startswith("headway: the store cannot be opened: ")
    assert (said.count("\n"), "Traceback" in said) == (1, False)
    return said.removeprefix("headway: the store cannot be opened: ").strip()


def diagnosis(deployment, **environment):
    """Return what the doctor says is wrong."""
    found = headway(deployment, "--json", "doctor", **environment)
    checks = msgspec.json.decode(found.stdout)["checks"]
    wrong = [check["message"] for check in checks if not check["ok"]]
    assert found.returncode == bool(wrong)
    return wrong


DAMAGED = {
    "garbage": lambda key: key.write_bytes(b"\xff\x00garbage"),
    "empty": lambda key: key.write_bytes(b""),
    "too short": lambda key: key.write_text("ab" * 16),
    "for another store": lambda key: key.write_text("cd" * 32),
    "missing": lambda key: key.unlink(),
    "a folder": lambda key: (key.unlink(), key.mkdir()),
    "a link to nothing": lambda key: (key.unlink(), key.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_key_file_that_a_server_refuses_is_what_the_doctor_says_in_the_same_words(locked, damage):
    assert diagnosis(locked) == []
    DAMAGED[damage](key_of(locked))
    there = os.path.lexists(key_of(locked))
    (said,) = diagnosis(locked)
    assert refusal_of(locked) == said
    assert str(key_of(locked)) in said or key_of(locked).name in said
    assert os.path.lexists(key_of(locked)) == there, "no new secret is made in place of the lost one"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602, 0o666])
def test_a_key_file_that_others_may_read_or_change_is_refused_until_that_is_mended(locked, mode):
    before = key_of(locked).read_bytes()
    key_of(locked).chmod(mode)
    (said,) = diagnosis(locked)
    assert f"others may read or change {key_of(locked)} (mode {mode:o})" in said
    assert f"chmod 600 {key_of(locked)}" in said
    assert refusal_of(locked) == said
    assert headway(locked, "doctor", "--accept-loss").returncode != 0
    assert key_of(locked).read_bytes() == before, "it is not lost"
    key_of(locked).chmod(0o600)
    assert diagnosis(locked) == []


def test_a_store_or_a_key_of_a_client_that_others_may_read_is_warned_of(locked):
    locked.store.chmod(0o644)
    server = Server(locked).start(ready=False)
    until(lambda: answers(server, locked.admin) == 200, 20, "it is served")
    assert f"others may read {locked.store} (mode 644): chmod 600 it" in locked.logged()
    kept = locked.folder / "admin.key"
    kept.write_text(locked.admin)
    for mode, warned in ((0o644, True), (0o600, False)):
        kept.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-m", "headway", "runs", "list", "--key-file", str(kept)], cwd=ROOT, env=locked.environment(HEADWAY_URL=locked.url),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, f"others may read {kept}" in done.stderr) == (0, warned), done.stderr


def test_a_key_file_that_the_server_may_not_read_is_said_so(locked, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    key_of(locked).chmod(0)
    (said,) = diagnosis(locked)
    assert "cannot be read (Permission denied)" in said
    assert refusal_of(locked) == said


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_key_that_is_lost_for_good_is_given_up_when_somebody_says_so(locked, damage):
    server = Server(locked).start(ready=False)
    until(lambda: answers(server, locked.admin) == 200, 20, "it is served")
    DAMAGED[damage](key_of(locked))
    assert headway(locked, "doctor", "--accept-loss").returncode == Exit.CONFLICT, "it is served"
    assert server.stop() == 0
    there = os.path.lexists(key_of(locked))
    given_up = headway(locked, "doctor", "--accept-loss")
    assert given_up.returncode == 0, given_up.stdout
    assert given_up.stdout.startswith("lost  the store has a new secret")
    assert len(list(locked.folder.glob("headway.db.key.useless-*"))) == there
    assert headway(locked, "doctor", "--accept-loss").stdout.startswith("ok  "), "there is nothing more to give up"
    assert headway(locked, "keys", "create", "again", "--scope", "all").returncode == 0
    server = Server(locked).start(ready=False)
    until(lambda: answers(server, locked.admin) == 401, 20, "the keys of before are void")


def answers(server, key):
    with contextlib.suppress(ConnectionLost):
        return server.call("GET", "/v1/runs", authorization=f"Bearer {key}").status
    return None


def test_a_secret_from_the_environment_that_is_forgotten_or_another_is_refused(deployment):
    """It would make keys that never work, and could open nothing that is sealed."""
    first, second = "first" * 8, "second" * 8
    assert headway(deployment, "keys", "create", "admin", "--scope", "all", HEADWAY_SECRET=first).returncode == 0
    for environment in ({}, {"HEADWAY_SECRET": second}):
        made = headway(deployment, "keys", "create", "other", **environment)
        assert (made.returncode, made.stdout) == (Exit.CONFLICT, "")
        (said,) = diagnosis(deployment, **environment)
        assert refusal_of(deployment, **environment) == said
        assert "HEADWAY_SECRET" in said
    assert not key_of(deployment).exists()
    assert diagnosis(deployment, HEADWAY_SECRET=first) == []
    changed = {"HEADWAY_SECRET": second, "HEADWAY_EARLIER_SECRETS": first}
    assert diagnosis(deployment, **changed) == []
    assert headway(deployment, "keys", "create", "other", **changed).returncode == 0
    assert diagnosis(deployment, HEADWAY_SECRET=second) == [], "from now on it is the second"


def test_a_store_in_which_nothing_depends_on_its_secret_takes_a_new_one(deployment):
    """A backup comes without its key."""
    server = Server(deployment).start()
    assert server.stop() == 0
    key_of(deployment).unlink()
    assert diagnosis(deployment) == []
    server = Server(deployment).start()
    assert server.stop() == 0
    assert key_of(deployment).exists()


def test_a_key_without_its_store_is_taken_for_a_loss(locked):
    locked.store.unlink()
    (said,) = diagnosis(locked)
    assert said.endswith("if it was lost, restore a backup")


def test_a_damaged_key_is_not_moved_to_a_database(locked, postgres_url):
    key_of(locked).write_text("garbage")
    with pytest.raises(ValueError, match="is not a key as Headway writes one"):
        offline.migrate_store(locked.store_url, postgres_url, lambda step: None)
