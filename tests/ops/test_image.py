"""The image that ops/Dockerfile makes, run as the first process of a process-id namespace, as a container engine does."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from tests.faults.waiting import until
from tests.ops.containers import copied

from headway import Client
from headway.errors import HeadwayError

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

APP = """
import subprocess
import headway

app = headway.App()

@app.task
async def greet(ctx: headway.Context, who: str) -> str:
    return f"hello {who}"

@app.task(executor="process")
def orphans(ctx: headway.Context) -> None:
    for _ in range(5):
        subprocess.run(["/bin/sh", "-c", "sleep 0.2 & exec true"], check=True)
"""
LARGEST_MB = 200
"""Of what the image adds to its base."""


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def store(image, tmp_path):
    """A new volume for the store."""
    (path,) = image.volumes
    return [f"{copied(image.root / path[1:], tmp_path / 'volume')}:{path}"]


@pytest.fixture
def key(image, store):
    """A key, made as the page says."""
    command = "keys create admin --scope all --store sqlite:////var/lib/headway/headway.db"
    return re.search(r"hw_\S+", image.run(*image.entrypoint, *command.split(), mounts=store).stdout)[0]


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


def zombies(container):
    """Return the ended processes of a container that nobody has reaped."""
    namespace = str(Path(f"/proc/{container.first}/ns/pid").stat().st_ino)
    found = subprocess.run(["ps", "-eo", "pidns,stat,pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.split()[0] == namespace and line.split()[1].startswith("Z")]


def test_the_image_is_small_and_has_nothing_to_build_with(image):
    size = int(
        subprocess.run(
            ["du", "-sm", image.root / "opt/headway"], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    assert size <= LARGEST_MB
    assert image.user.split(":")[0] not in ("", "0", "root")
    assert image.run("python", "-m", "pip", check=False).returncode != 0
    assert image.run("sh", "-c", "command -v gcc || ! command -v cc").returncode == 0


def test_a_server_runs_as_another_user_with_a_read_only_root_is_healthy_and_drains_on_sigterm(
    image, store, key, port, app, tmp_path
):
    env = {"HEADWAY_PORT": str(port)}
    log = tmp_path / "server.log"
    with image.container(
        "serve", "app:app", log=log, env=env, mounts=store, binds=[f"{app}:/app"], read_only=True, tmpfs=["/tmp"]
    ) as container:
        until(lambda: container.within(*image.healthcheck).returncode == 0, 60, log.read_text)
        with Client(f"http://127.0.0.1:{port}", key=key) as client:
            until(lambda: knows_greet(client), 60, log.read_text)
            assert client.runs.start("greet", who="image").result(timeout=60) == "hello image"
            client.runs.start("orphans").result(timeout=60)
        until(lambda: not zombies(container), 10, lambda: "\n".join(zombies(container)))
        assert container.stop() == 0, log.read_text()


def test_a_store_that_was_killed_with_its_container_is_served_again(image, store, key, port, app, tmp_path):
    env = {"HEADWAY_PORT": str(port)}
    with Client(f"http://127.0.0.1:{port}", key=key, retries=0) as client:
        with image.container(
            "serve", "app:app", log=tmp_path / "first.log", env=env, mounts=store, binds=[f"{app}:/app"]
        ) as container:
            until(lambda: knows_greet(client), 60, (tmp_path / "first.log").read_text)
            run = client.runs.start("greet", who="later")
            container.process.send_signal(signal.SIGKILL)
        with image.container(
            "serve", "app:app", log=tmp_path / "second.log", env=env, mounts=store, binds=[f"{app}:/app"]
        ):
            until(lambda: knows_greet(client), 60, (tmp_path / "second.log").read_text)
            assert client.runs.get(run.id).result(timeout=60) == "hello later"


def knows_greet(client):
    try:
        return client.tasks.get("greet")
    except HeadwayError:
        return None


def test_the_health_check_knows_a_server_with_tls(image, store, key, port, tmp_path):
    command = "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    pair = [folder / "key.pem", folder / "cert.pem"]
    subprocess.run(["openssl", *command.split(), "-keyout", pair[0], "-out", pair[1]], check=True, capture_output=True)
    number = int(image.user.split(":")[0])
    for path in pair:
        path.chmod(0o400)
        os.chown(path, number, number)
    env = {"HEADWAY_PORT": str(port), "HEADWAY_TLS_KEY": "/tls/key.pem", "HEADWAY_TLS_CERT": "/tls/cert.pem"}
    log = tmp_path / "server.log"
    binds = [f"{folder}:/tls"]
    with image.container(log=log, env=env, mounts=store, binds=binds) as container:
        until(lambda: container.within(*image.healthcheck).returncode == 0, 60, log.read_text)
        assert f"https://127.0.0.1:{port}" in log.read_text()
