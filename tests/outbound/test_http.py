"""Calls of webhooks: what a receiver sees, what becomes of its answer, and what it cannot make us do."""

import asyncio
import base64
import doctest
import gzip
import hashlib
import hmac
import time

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError
from tests.outbound.receivers import Raw, Site, leading_to

from headway.errors import InvalidInput
from headway.outbound import signing
from headway.outbound.egress import EgressPolicy
from headway.outbound.failure import SendFailed
from headway.outbound.http import Caller
from headway.outbound.signing import check_headers, check_secret

AT = 1_800_000_000
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
async def caller():
    made = Caller(EgressPolicy(["127.0.0.1"]), timeout_s=5)
    yield made
    await made.close()


async def post(caller, url, body=b"{}", at_s=AT, **more):
    target = caller._policy.url(url)
    return await caller.post(target, body, message_id="msg_1", at_s=at_s, **more)


async def failure(caller, url, **more):
    with pytest.raises(SendFailed) as failed:
        await post(caller, url, **more)
    return failed.value


async def test_a_call_arrives_signed_and_whole(caller, site):
    body = '{"name": "Zoë"}'.encode()
    answer = await post(
        caller, site.url, body, secrets=[SECRET], headers={"X-Team": "billing", "Authorization": "Bearer t"}
    )
    assert answer.status == 204
    ((method, path, headers, got),) = site.calls
    assert (method, path, got) == ("POST", "/hook", body)
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == str(AT)
    signed = b"msg_1.%d.%s" % (AT, body)
    expected = base64.b64encode(hmac.digest(bytes(range(32)), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert (headers["X-Team"], headers["Authorization"]) == ("billing", "Bearer t")
    assert headers["Content-Type"] == "application/json"
    assert "Cookie" not in headers
    assert "Accept-Encoding" not in headers


def test_the_signature_is_that_of_the_standard():
    assert doctest.testmod(signing) == (0, 1)


async def test_receivers_verify_a_call_with_either_of_two_secrets(caller, site):
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    await post(caller, site.url, body='{"name": "Zoë"}'.encode(), secrets=[SECRET, other], at_s=int(time.time()))
    _, _, headers, body = site.calls[0]
    for secret in (SECRET, other):
        assert Webhook(secret).verify(body, headers) == {"name": "Zoë"}
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", headers)


async def test_connections_are_kept(caller, site):
    for _ in range(5):
        await post(caller, site.url)
    assert len(site.connections) == 1


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (200, None),
        (299, None),
        (301, False),
        (400, False),
        (404, False),
        (408, True),
        (410, False),
        (429, True),
        (500, True),
        (503, True),
    ],
)
async def test_what_an_answer_means(caller, site, status, retryable):
    site.answer = status
    if retryable is None:
        assert (await post(caller, site.url)).status == status
    else:
        failed = await failure(caller, site.url)
        assert (failed.code, failed.retryable, failed.unreachable) == (f"http_{status}", retryable, False)


async def test_a_redirect_is_not_followed(caller, site):
    site.answer = lambda request: web.Response(status=307, headers={"Location": site.url + "/inside"})
    assert "redirects are not followed" in (await failure(caller, site.url)).message
    assert len(site.calls) == 1


async def test_no_cookie_comes_back_and_no_proxy_is_asked(caller, site, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.answer = lambda request: web.Response(headers={"Set-Cookie": "a=b"})
    await post(caller, site.url)
    await post(caller, site.url)
    assert "Cookie" not in site.calls[1][2]


async def test_how_long_to_wait_is_read(caller, site):
    for said, expected in (
        ("7", 7_000),
        ("99999", 3_600_000),
        ("Wed, 21 Oct 2030 07:28:00 GMT", None),
        ("-1", None),
        ("9" * 400, None),
    ):
        site.answer = lambda request, said=said: web.Response(status=503, headers={"Retry-After": said})
        assert (await failure(caller, site.url)).after_ms == expected


async def test_who_says_nothing_has_so_long_and_no_longer():
    caller = Caller(EgressPolicy(["127.0.0.1"]), timeout_s=0.3)
    for says in (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ):
        async with Raw(says, closes=False) as silent:
            began = time.monotonic()
            failed = await failure(caller, f"http://127.0.0.1:{silent.port}/")
            assert (failed.code, failed.retryable, failed.unreachable) == ("timeout", True, True)
            assert time.monotonic() - began < 3
    await caller.close()


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"],
)  # fmt: skip
async def test_who_goes_on_byte_by_byte_has_so_long_and_stalls_nobody_else(site, says):
    caller = Caller(EgressPolicy(["127.0.0.1"]), timeout_s=0.5)
    async with Raw(says, drips=b"1") as dripping:
        began = time.monotonic()
        failing = [asyncio.create_task(failure(caller, f"http://127.0.0.1:{dripping.port}/")) for _ in range(20)]
        assert (await post(caller, site.url)).status == 204
        assert not any(task.done() for task in failing)
        for task in failing:
            failed = await task
            assert (failed.code, failed.retryable, failed.unreachable) == ("timeout", True, True)
        assert time.monotonic() - began < 5
    await caller.close()


@pytest.mark.parametrize(
    "says", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 999999 ?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\x00" * 9000,
             b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_who_lies_fails_the_call_in_words(caller, says):
    async with Raw(says) as liar:
        failed = await failure(caller, f"http://127.0.0.1:{liar.port}/")
    assert failed.retryable
    assert failed.code == "broken_answer"
    assert "127.0.0.1" in failed.message


async def test_a_long_answer_is_not_read_to_its_end(caller):
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300_000
    async with Raw(endless, closes=False) as talker:
        answer = await post(caller, f"http://127.0.0.1:{talker.port}/")
    assert 64 * 1024 <= answer.size < 300_000


async def test_a_packed_answer_is_not_unpacked(caller, site):
    packed = gzip.compress(b"0" * 10_000_000)
    site.answer = lambda request: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    assert (await post(caller, site.url)).size == len(packed)


async def test_who_cannot_be_reached_fails_the_call_in_words(caller):
    async with Raw() as gone:
        url = f"http://127.0.0.1:{gone.port}/"
    failed = await failure(caller, url)
    assert failed.code == "unreachable"
    assert failed.message == "127.0.0.1 cannot be reached: connection refused"


async def test_the_address_that_is_dialled_is_what_counts(site):
    """The name led outside when it was named, and leads inside when it is called."""
    policy = EgressPolicy(ports=(443, site.port), plain=True, resolve=leading_to("8.8.8.8", "127.0.0.1"))
    caller = Caller(policy, timeout_s=2)
    target = policy.url(f"http://rebinding.example:{site.port}/hook")
    await policy.look_up(target)
    with pytest.raises(SendFailed) as failed:
        await caller.post(target, b"{}", message_id="m", at_s=AT)
    assert (failed.value.code, failed.value.retryable) == ("target_refused", False)
    assert "127.0.0.1" not in failed.value.message
    assert site.calls == []
    await caller.close()


async def test_what_a_receiver_inside_says_is_not_told(caller, site):
    site.answer = lambda request: web.Response(status=400, text="secret of the inside")
    assert (await failure(caller, site.url)).message == "127.0.0.1 answered 400"


async def test_what_a_public_receiver_says_is_told_in_one_line(site):
    policy = EgressPolicy(["127.0.0.0/8"], ports=(site.port,), plain=True)
    caller = Caller(policy)
    site.answer = lambda request: web.Response(status=400, text="no\x1b[31m such\r\nfield " + "x" * 900)
    message = (await failure(caller, site.url)).message
    assert message.startswith("127.0.0.1 answered 400: no [31m such field xxx")
    assert len(message) < 400
    await caller.close()


async def test_a_certificate_has_to_be_one_that_is_trusted(certified, trusting):
    secure = Site(certified)
    await secure.begin()
    good, wary = Caller(EgressPolicy(["127.0.0.1"]), tls=trusting), Caller(EgressPolicy(["127.0.0.1"]))
    assert (await post(good, secure.url)).status == 204
    failed = await failure(wary, secure.url)
    assert "its certificate is not valid" in failed.message
    assert len(secure.calls) == 1
    for caller in (good, wary):
        await caller.close()
    await secure.end()


@pytest.mark.parametrize(
    "headers",
    [{"Host": "x"}, {"content-length": "0"}, {"Webhook-Id": "x"}, {"Transfer-Encoding": "chunked"}, {"Cookie": "a"}, {"X-Forwarded-For": "::1"},
     {"A": "b\r\nC: d"}, {"A": "b\nC"}, {"A\r\n": "b"}, {"A b": "c"}, {"A:": "b"}, {"": "b"}, {"A": "\u2028"}, {"A": "é"}, {"A": "x" * 5000}, {"A": "\x00"},
     {str(n): "v" for n in range(30)}],
)  # fmt: skip
def test_a_header_that_is_ours_or_breaks_its_line_is_refused(headers):
    with pytest.raises(InvalidInput):
        check_headers(headers)


def test_a_header_of_ones_own_is_taken():
    check_headers({"Authorization": "Bearer abc", "X-Api-Key": "k", "X-Empty": ""})


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "abc",
        "whsec_",
        "whsec_abc",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_!!!!",
        "whsec_é",
        SECRET[6:],
    ],
)
def test_a_weak_secret_is_refused(secret):
    with pytest.raises(InvalidInput, match="24 to 64"):
        check_secret(secret)
    check_secret(SECRET)
