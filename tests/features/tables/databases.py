"""Databases of users, and a service that may connect to them."""

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import sqlalchemy
from tests.harness import in_memory

from headway.features.tables.external.database import ExternalDatabases
from headway.protocol import tables as wire


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory):
    """The URL of a MariaDB server of the tests' own: the system's, or that of HEADWAY_TEST_MARIADB=/path/to/usr."""
    base = Path(os.environ.get("HEADWAY_TEST_MARIADB", "/usr"))
    program, install = base / "sbin/mariadbd", base / "bin/mariadb-install-db"
    if not program.exists() or not install.exists():
        pytest.skip("MariaDB is not installed (apt-get install mariadb-server-core mariadb-client-core)")
    data = tmp_path_factory.mktemp("mariadb")
    subprocess.run(
        [install, "--no-defaults", f"--basedir={base}", f"--datadir={data / 'data'}", "--auth-root-authentication-method=normal",
         "--skip-test-db", "--user=root"],
        check=True, capture_output=True,
    )  # fmt: skip
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = [
        "--no-defaults",
        f"--basedir={base}",
        f"--datadir={data / 'data'}",
        f"--socket={data / 's'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
    ]
    server = subprocess.Popen(
        [program, *options, "--user=root", f"--pid-file={data / 'pid'}"], stderr=subprocess.DEVNULL
    )
    url = f"mysql+pymysql://root@127.0.0.1:{port}/"
    try:
        _made_when_it_is_up(url, server)
        yield f"{url}people"
    finally:
        server.kill()
        server.wait()


def _made_when_it_is_up(url, server):
    pause = threading.Event()
    for _ in range(1_200):  # two minutes: a busy machine takes its time
        assert server.poll() is None
        try:
            with sqlalchemy.create_engine(url).begin() as connection:
                connection.execute(sqlalchemy.text("CREATE DATABASE people"))
                return
        except sqlalchemy.exc.OperationalError:
            pause.wait(0.1)
    raise AssertionError("the server does not come up")


def allowing(tmp_path, **settings):
    return in_memory(external_folders=(str(tmp_path),), external_allow=("127.0.0.1", "::1"), **settings)


@pytest.fixture
async def near(tmp_path):
    """A service that may connect to this machine's databases."""
    harness = allowing(tmp_path)
    yield harness
    harness.service.part(ExternalDatabases).close()
    await harness.close()


async def external(harness, url, relation="people"):
    spec = wire.CreateTable(name="people", external=wire.ExternalSpec(url=url, relation=relation))
    return await harness.tables.create(spec)
