"""Behind a proxy: the one of the documentation, and one that says nothing of what it does."""

import contextlib
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from tests.e2e.programs import HEADWAY, Caller, ready
from tests.faults.proxy import Wire
from tests.faults.server import ROOT, Server, free_port
from tests.faults.waiting import until

from headway.client.transport import Transport

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PUBLIC = "headway.example.org"
KEYLESS = ("HEADWAY_LOOPBACK_WITHOUT_KEY", "HEADWAY_CLOUDCOIN_LOOPBACK_WITHOUT_KEY")


def documented(port):
    """The location of the how-to page, for a server with keys, which listens on the port."""
    page = (ROOT / "docs" / "how-to" / "proxy.md").read_text()
    lines = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)[1].splitlines()
    kept = [line for line in lines if "auth_basic" not in line]
    assert len(lines) == len(kept) + 2
    return "\n".join(kept).replace("127.0.0.1:8006", f"127.0.0.1:{port}")


@contextlib.contextmanager
def nginx(folder: Path, port: int):
    """Run nginx with the documented lines; yields its port."""
    public = free_port()
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    folder.joinpath("nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}"
        f"server {{ listen 127.0.0.1:{public}; server_name {PUBLIC};\n{documented(port)}\n}} }}\n"
    )
    with folder.joinpath("nginx.out").open("wb") as out:
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def answers():
        assert process.poll() is None, (folder / "nginx.out").read_text() + (folder / "nginx.log").read_text()
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", public)) == 0

    try:
        until(answers, 20, "nginx listens")
        yield public
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def wire(folder: Path, port: int):
    """Hand on every byte as it is: what a tunnel does, and the worst that a proxy can do."""
    with Wire(port) as way:
        yield way.port


@pytest.fixture(params=[nginx, wire], ids=["nginx", "wire"])
def proxied(request, deployment):
    """A server with a key, the way to it through a proxy, and the key."""
    if request.param is nginx and NGINX is None:
        pytest.skip("needs nginx: apt-get install nginx")
    key = Caller(deployment)("keys", "create", "admin", "--scope", "all", "--store", deployment.store_url).strip()
    server = Server(deployment, "--allow-host", PUBLIC, app="examples.backup:app")
    server.start(ready=False)
    until(lambda: ready(server), 20, deployment.logged())
    with request.param(deployment.folder, deployment.port) as port:
        http = Transport(f"http://127.0.0.1:{port}", timeout_s=30)
        yield http, key, port
        http.close()


def test_no_stranger_starts_a_task_whatever_host_they_write(proxied):
    http, key, port = proxied
    for host in ("localhost", f"localhost:{port}", "127.0.0.1:8006", "[::1]", PUBLIC):
        for method, path in (
            ("POST", "/api/v1/backup"),
            ("POST", "/api/v1/tasks/run/backup"),
            ("POST", "/v1/runs"),
            ("GET", "/v1/runs"),
        ):
            answer = http.request(
                method, path, body=b'{"task":"backup"}', headers={"Host": host, "Content-Type": "application/json"}
            )
            assert answer.status == 401, (host, path, answer.body)
    shown = {"Authorization": f"Bearer {key}", "Host": PUBLIC}
    assert http.request("GET", "/v1/runs", headers=shown).status == 200
    assert b'"data":[]' in http.request("GET", "/v1/runs", headers=shown).body


def test_pages_of_the_public_address_are_our_own_and_others_are_not(proxied):
    http, key, port = proxied
    page = {"Authorization": f"Bearer {key}", "Host": f"{PUBLIC}:{port}", "Sec-Fetch-Site": "same-origin"}
    for origin, status in (
        (f"http://{PUBLIC}:{port}", 200),
        (f"http://{PUBLIC}:{port + 1}", 403),
        (f"http://{PUBLIC}", 403),
    ):
        answer = http.request("POST", "/v1/queues/default:pause", headers={**page, "Origin": origin})
        assert answer.status in (status, 404 if status == 200 else status), (origin, answer.body)


@pytest.mark.parametrize("keyless", KEYLESS)
@pytest.mark.parametrize(
    "option", [("--behind-proxy",), ("--trusted-proxy", "10.0.0.1"), ("--allow-host", PUBLIC), ("--host", "0.0.0.0")]
)
def test_nobody_is_let_in_without_a_key_where_a_proxy_is_said_to_be(deployment, keyless, option):
    done = subprocess.run(
        [*HEADWAY, *deployment.serve_arguments(*option)], cwd=ROOT, env=deployment.environment(**{keyless: "1"}),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


@pytest.mark.parametrize("keyless", KEYLESS)
def test_letting_in_without_a_key_is_warned_of_at_start(deployment, keyless):
    Server(deployment, **{keyless: "1"}).start()
    assert f"{keyless} is set: every program and user of this machine" in deployment.logged()
