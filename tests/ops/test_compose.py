"""The compose file: what it asks for is there, and its services, run in the image's root folder, are a working system."""

import re
import socket
from contextlib import ExitStack

import psycopg
import pytest
import yaml
from tests.docs.pages import ROOT
from tests.faults.waiting import until
from tests.postgres.cluster import GUARDED

from headway import Client
from headway.config import Settings
from headway.errors import HeadwayError

FOLDER = ROOT / "ops"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SECRETS = {
    "POSTGRES_PASSWORD": "0f8c1c7be7d54a0a",
    "HEADWAY_KEY": "hw_03130f332f3964af87be_qVXWZD_c0R5J1t6Rbg5IBV3E-FkpiArISsJvtvehbfs",
}
CLIENTS_OWN = {"HEADWAY_URL", "HEADWAY_KEY"}


def environment(service):
    """Return the environment of a service, with the secrets of `.env`."""
    given = SERVICES[service]["environment"]
    return {name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: SECRETS[found[1]], value) for name, value in given.items()}


def test_every_variable_of_ours_is_a_setting():
    known = {f"HEADWAY_{name.upper()}" for name in Settings.__struct_fields__} | CLIENTS_OWN
    asked = {name for service in SERVICES for name in environment(service) if name.startswith("HEADWAY_")}
    assert asked - known == set()


def test_no_secret_is_in_the_file_and_nothing_is_published_beyond_this_machine():
    text = (FOLDER / "compose.yaml").read_text()
    assert re.findall(r"(?i)(?:password|key): (?!\$\{)\S+", text) == []
    assert [
        port for service in SERVICES.values() for port in service.get("ports", []) if not port.startswith("127.0.0.1:")
    ] == []


def test_a_service_waits_for_the_health_of_those_it_needs():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[needed] or SERVICES[needed]["image"] == "headway"


@pytest.fixture
def ports():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"8006": str(probe.getsockname()[1])}


@pytest.fixture
def database(postgres_cluster):
    """The database that the service `postgres` would make: of one role, with a password."""
    given = environment("postgres")
    with psycopg.connect(postgres_cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create role {GUARDED}")
        connection.execute(
            f"create role {given['POSTGRES_USER']} login password '{given['POSTGRES_PASSWORD']}' in role {GUARDED}"
        )
        connection.execute(f"create database {given['POSTGRES_DB']} owner {given['POSTGRES_USER']}")
        yield connection.info.port
        connection.execute(f"drop database {given['POSTGRES_DB']} with (force)")
        connection.execute(f"drop role {given['POSTGRES_USER']}")
        connection.execute(f"drop role {GUARDED}")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_server_and_worker_run_with_the_files_commands_environments_and_names(image, database, ports, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost postgres server\n")
    (port,) = ports.values()
    own = {"PGPORT": str(database), "HEADWAY_PORT": port}  # all share the network of this machine

    def container(service):
        env = {name: value.replace(":8006", f":{port}") for name, value in environment(service).items()} | own
        binds = [
            f"{hosts}:/etc/hosts",
            *(
                f"{FOLDER / bind.removeprefix('./').removesuffix(':ro')}"
                for bind in SERVICES[service].get("volumes", [])
            ),
        ]
        return image.container(
            *SERVICES[service]["command"], log=tmp_path / f"{service}.log", env=env, binds=binds,
            read_only=SERVICES[service]["read_only"], tmpfs=SERVICES[service]["tmpfs"],
        )  # fmt: skip

    def logs():
        return "\n".join(path.read_text() for path in tmp_path.glob("*.log"))

    with ExitStack() as running:
        server = running.enter_context(container("server"))
        until(lambda: server.within(*image.healthcheck).returncode == 0, 60, logs)
        worker = running.enter_context(container("worker"))
        with Client(f"http://127.0.0.1:{port}", key=SECRETS["HEADWAY_KEY"], retries=0) as client:
            until(lambda: knows_greet(client), 60, logs)
            assert client.runs.start("greet", who="compose").result(timeout=60) == "hello compose"
        with Client(f"http://127.0.0.1:{port}", key="hw_other_key", retries=0) as stranger, pytest.raises(HeadwayError):
            stranger.runs.count()
        assert worker.stop() == 0, logs()
        assert server.stop() == 0, logs()
    assert SECRETS["HEADWAY_KEY"] not in logs()
    assert SECRETS["POSTGRES_PASSWORD"] not in logs()


def knows_greet(client):
    try:
        return client.tasks.get("greet")
    except HeadwayError:
        return None
