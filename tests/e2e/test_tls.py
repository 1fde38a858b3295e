"""A server that speaks TLS itself, with certificates made for the test."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from http.client import HTTPSConnection

import pytest
from cryptography import x509
from tests.e2e.authority import Pair
from tests.e2e.programs import Caller
from tests.faults.server import APP, Process, Server
from tests.faults.waiting import until

import headway
from headway.client.transport import Transport
from headway.client.trust import Trust


@pytest.fixture
def authority(tmp_path):
    return Pair(tmp_path, "authority")


@pytest.fixture
def pair(tmp_path, authority):
    return Pair(tmp_path, "server", by=authority)


@pytest.fixture
def secure(deployment, authority):
    """Start servers by https, with connections that trust the authority."""
    deployment.url = f"https://127.0.0.1:{deployment.port}"

    def start(pair, *options, ready=True, **more):
        server = Server(deployment, *pair.options, *options, **more)
        server.http = Transport(deployment.url, trust=Trust(str(authority.cert_path)))
        deployment.connections.append(server.http)
        return server.start(ready=ready)

    return start


def shown(deployment):
    """Return the serial number of the certificate that a new connection is shown."""
    with socket.create_connection(("127.0.0.1", deployment.port), 10) as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).serial_number


def worker_pids(server):
    """Return the processes that execute an app's tasks."""
    return {worker["pid"] for worker in server.get("/v1/workers")["data"] if "noop" in worker["tasks"]}


def test_server_worker_clients_and_commands_speak_tls(deployment, authority, pair, secure, monkeypatch):
    server = secure(pair, app=APP)
    assert f"Headway {headway.__version__}  {deployment.url}  (" in deployment.logged()
    until(lambda: worker_pids(server), 30, "its own worker has connected")
    trusted = str(authority.cert_path)
    with headway.Client(deployment.url, ca=trusted) as client:
        assert client.runs.start("noop", n=3).result() == 3
    with headway.Client(f"https://localhost:{deployment.port}", ca=trusted) as client:
        assert client.health().status == "ready"

    async def scenario():
        async with headway.AsyncClient(deployment.url) as client:
            return await (await client.runs.start("noop", n=4)).result()

    monkeypatch.setenv("HEADWAY_CA", trusted)
    assert asyncio.run(scenario()) == 4
    monkeypatch.setenv("HEADWAY_CA", "")
    monkeypatch.setenv("SSL_CERT_FILE", trusted)
    with headway.Client(deployment.url) as client:
        assert client.runs.start("noop", n=5).result() == 5
    command = Caller(deployment)
    assert command("run", "noop", "n:=6", "--ca", trusted).strip() == "6"
    away = Process(
        deployment, [sys.executable, "-m", "headway", "worker", APP, "--server", deployment.url, "--ca", trusted]
    )
    until(lambda: len(worker_pids(server)) == 2, 30, "a worker from elsewhere has connected")
    away.send(signal.SIGTERM)
    assert away.wait(30) == 0
    assert server.stop() == 0
    assert "Traceback" not in deployment.logged()


def test_a_client_that_does_not_trust_the_certificate_says_what_to_set(deployment, pair, secure, monkeypatch, tmp_path):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    server = secure(pair)
    with headway.Client(deployment.url, retries=0) as client, pytest.raises(headway.ConnectionLost) as refused:
        client.tasks.list()
    assert "is not trusted" in refused.value.detail
    assert "HEADWAY_CA" in refused.value.detail

    async def scenario():
        async with headway.AsyncClient(deployment.url, retries=0) as client:
            await client.tasks.list()

    with pytest.raises(headway.ConnectionLost, match=r"is not trusted.*HEADWAY_CA"):
        asyncio.run(scenario())
    stranger = Pair(tmp_path, "stranger")
    with (
        headway.Client(deployment.url, ca=str(stranger.cert_path), retries=0) as client,
        pytest.raises(headway.ConnectionLost),
    ):
        client.tasks.list()
    for missing in (str(tmp_path / "none.pem"), str(pair.key_path)):
        with pytest.raises(headway.HeadwayError, match="certificates of authorities cannot be read from"):
            headway.Client(deployment.url, ca=missing)
    with (
        pytest.raises(headway.ConnectionLost),
        headway.Client(deployment.url.replace("https", "http"), retries=0) as client,
    ):
        client.tasks.list()
    assert server.stop() == 0


def test_a_client_that_speaks_tls_to_a_server_that_does_not_is_told_so(deployment):
    server = Server(deployment).start()
    lost = pytest.raises(headway.ConnectionLost, match="does not speak TLS")
    with headway.Client(deployment.url.replace("http", "https"), retries=0) as client, lost:
        client.tasks.list()
    assert server.stop() == 0


def test_a_pinned_client_trusts_the_certificate_in_the_file_and_no_other(deployment, tmp_path, pair, secure):
    server = secure(pair)
    with contextlib.closing(Transport(deployment.url, trust=Trust(pinned=str(pair.cert_path)))) as pinned:
        assert pinned.request("GET", "/livez").status == 200
    other = Pair(tmp_path, "other")
    lost = pytest.raises(headway.ConnectionLost, match="is not the one in")
    with contextlib.closing(Transport(deployment.url, trust=Trust(pinned=str(other.cert_path)))) as pinned, lost:
        pinned.request("GET", "/livez")
    assert server.stop() == 0


def test_a_renewed_certificate_is_shown_after_sighup_and_nobody_is_cut_off(
    deployment, tmp_path, authority, pair, secure
):
    server = secure(pair, app=APP)
    until(lambda: worker_pids(server), 30, "its own worker has connected")
    context = ssl.create_default_context(cafile=str(authority.cert_path))
    kept = HTTPSConnection("127.0.0.1", deployment.port, context=context, timeout=30)
    kept.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
    stream = kept.getresponse()
    first = shown(deployment)
    assert first == pair.serial
    renewed = Pair(tmp_path, "renewed", by=authority)
    pair.take(renewed)
    assert shown(deployment) == first, "nobody has told the server yet"
    server.process.send(signal.SIGHUP)
    until(lambda: shown(deployment) == renewed.serial, 20, deployment.logged)
    (pid,) = worker_pids(server)
    os.kill(pid, signal.SIGKILL)
    until(lambda: worker_pids(server) - {pid}, 30, "a new worker trusts the new certificate")
    run = server.started("noop")
    assert server.final(run)["output"] == 0
    while run.encode() not in stream.readline():
        pass
    stream.close()
    kept.close()

    wrong = Pair(tmp_path, "wrong", by=authority, ends=-0.5)
    pair.take(wrong)
    server.process.send(signal.SIGHUP)
    until(lambda: "server.not_reloaded what=tls_cert" in deployment.logged(), 20, deployment.logged)
    assert "has expired" in deployment.logged()
    assert shown(deployment) == renewed.serial
    assert server.stop() == 0


def unreadable(tmp_path, authority):
    pair = Pair(tmp_path, "s", by=authority)
    pair.key_path.unlink()
    return pair


def mismatched(tmp_path, authority):
    pair, other = Pair(tmp_path, "s", by=authority), Pair(tmp_path, "o", by=authority)
    pair.key_path.write_bytes(other.key_path.read_bytes())
    return pair


def reversed_chain(tmp_path, authority):
    pair = Pair(tmp_path, "s", by=authority)
    pair.cert_path.write_bytes(authority.cert_path.read_bytes() + pair.cert_path.read_bytes())
    return pair


def exposed(tmp_path, authority):
    pair = Pair(tmp_path, "s", by=authority)
    pair.key_path.chmod(0o644)
    return pair


def no_certificate(tmp_path, authority):
    pair = Pair(tmp_path, "s", by=authority)
    pair.cert_path.write_text("nonsense")
    return pair


def no_key(tmp_path, authority):
    pair = Pair(tmp_path, "s", by=authority)
    pair.key_path.write_bytes(pair.cert_path.read_bytes())
    return pair


REFUSED = {
    "expired": (lambda folder, by: Pair(folder, "s", by=by, ends=-0.5), "has expired on"),
    "not valid yet": (lambda folder, by: Pair(folder, "s", by=by, begins=1), "is not valid before"),
    "encrypted": (lambda folder, by: Pair(folder, "s", by=by, password=b"x"), "is encrypted"),
    "unreadable": (unreadable, "cannot be read (No such file"),
    "mismatched": (mismatched, "is not that of the first certificate"),
    "reversed": (reversed_chain, "is not that of the first certificate"),
    "exposed": (exposed, "others may read or change the key"),
    "no certificate": (no_certificate, "is not a certificate in PEM"),
    "no key": (no_key, "there is no private key in PEM"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_pair_that_cannot_be_used_ends_the_start_with_what_to_do(deployment, tmp_path, authority, what):
    make, said = REFUSED[what]
    pair = make(tmp_path, authority)
    command = Caller(deployment)
    refusal = command("serve", "--port", "0", "--store", deployment.store_url, *pair.options, code=2)
    assert (refusal.count("\n"), said in refusal, "--tls-cert (HEADWAY_TLS_CERT)" in refusal) == (1, True, True)
    assert not deployment.store.exists()


def test_the_doctor_looks_at_the_certificate_too(deployment, pair, authority, tmp_path, secure):
    server = secure(pair)
    assert server.stop() == 0

    def doctor(pair, code):
        done = subprocess.run(
            [sys.executable, "-m", "headway", "doctor", "--store", deployment.store_url], capture_output=True, text=True, check=False,
            env=deployment.environment(HEADWAY_TLS_CERT=str(pair.cert_path), HEADWAY_TLS_KEY=str(pair.key_path)),
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return " ".join(done.stdout.split())

    assert "certificate: for localhost, 127.0.0.1, valid until" in doctor(pair, 0)
    assert "renew it" in doctor(Pair(tmp_path, "soon", by=authority, ends=5), 0)
    assert "has expired" in doctor(Pair(tmp_path, "late", by=authority, ends=-0.5), 1)


def test_a_key_without_a_certificate_is_refused(deployment, pair):
    said = Caller(deployment)("serve", "--tls-key", str(pair.key_path), code=2)
    assert "name that with --tls-cert" in said


def test_with_a_certificate_other_addresses_need_no_proxy_but_a_key(deployment, pair, secure):
    command = Caller(deployment)
    options = ("serve", "--port", "0", "--host", "0.0.0.0", "--store", deployment.store_url)
    assert "--tls-cert" in command(*options, code=2)
    assert "without keys anyone" in command(*options, *pair.options, code=2)
    command("keys", "create", "admin", "--scope", "all", "--store", deployment.store_url)
    server = secure(pair, "--host", "0.0.0.0", app=APP, ready=False)
    until(lambda: "connected, with" in deployment.logged(), 30, deployment.logged)
    assert f"{deployment.url}, and every other address of this machine" in deployment.logged()
    assert server.stop() == 0


def test_pages_of_the_server_by_https_are_its_own_and_those_by_http_are_not(deployment, pair, secure):
    server = secure(pair)
    own, other = f"https://127.0.0.1:{deployment.port}", f"http://127.0.0.1:{deployment.port}"
    assert server.call("GET", "/v1/tasks", Origin=own).status == 200
    assert server.call("GET", "/v1/tasks", Origin=other).status == 403
    assert "strict-transport-security" not in server.call("GET", "/livez").headers
    assert server.stop() == 0


def test_a_body_that_is_refused_while_it_is_sent_is_answered_over_tls_too(deployment, pair, secure, authority):
    server = secure(pair, "--access-log")
    context = ssl.create_default_context(cafile=str(authority.cert_path))
    with (
        socket.create_connection(("127.0.0.1", deployment.port), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        head = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Connection: close\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 100_000)
        assert connection.recv(12) == b"HTTP/1.1 413"
    assert server.call("GET", "/livez").status == 200
    assert server.stop() == 0
    assert "Traceback" not in deployment.logged()


def test_a_connection_that_never_says_hello_and_one_that_is_no_tls_harm_nobody(deployment, pair, secure):
    server = secure(pair)
    with (
        socket.create_connection(("127.0.0.1", deployment.port), 20),
        socket.create_connection(("127.0.0.1", deployment.port), 20) as http,
    ):
        http.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not http.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.call("GET", "/livez").status == 200
        assert server.stop() == 0
    assert "Traceback" not in deployment.logged()
