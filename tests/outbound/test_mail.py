"""Mails: what arrives, what no value can do to a header, and what a mail server's words come to."""

import asyncio
import email
import gc
import re
import time
from email.header import decode_header, make_header
from email.policy import compat32
from email.utils import getaddresses

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.outbound.receivers import MailBox, MisbehavingMailServer, Raw, leading_to

from headway.errors import InvalidInput, TargetRefused
from headway.outbound.egress import EgressPolicy
from headway.outbound.failure import SendFailed
from headway.outbound.headers import field
from headway.outbound.letter import Mail, MailServer, addresses, check_server
from headway.outbound.mail import Mailer

AT = 1_800_000_000_000


def server(port=587, **more):
    return MailServer(
        **{"host": "127.0.0.1", "port": port, "security": "plain", "sender": "reports@headway.example"} | more
    )


def mail(**more):
    return Mail(
        **{
            "to": "ann@example.com",
            "subject": "Report",
            "text": "All is well.",
            "message_id": "r1.7.0",
            "at_ms": AT,
        }
        | more
    )


@pytest.fixture
async def mailer():
    made = Mailer(EgressPolicy(["127.0.0.1"]), timeout_s=5)
    yield made
    await made.close()


async def failure(mailer, to, what):
    with pytest.raises(SendFailed) as failed:
        await mailer.send(to, what)
    return failed.value


async def test_a_mail_arrives_as_it_was_meant(mailer, mailbox):
    given = mail(
        to="Ann Ünal <ann@example.com>; bob@example.com", cc="cleo@example.com", bcc="dan@example.com",
        subject="Täglicher Bericht", text="Grüße\n.\nEnde", html="<p>Grüße &amp; mehr</p>",
    )  # fmt: skip
    await mailer.send(server(mailbox.port, sender_name="Häd, way", reply_to="help@headway.example"), given)
    ((sender, recipients, message),) = mailbox.mails
    assert sender == "reports@headway.example"
    assert recipients == ["ann@example.com", "bob@example.com", "cleo@example.com", "dan@example.com"]
    assert message["Subject"] == "Täglicher Bericht"
    assert [a.display_name for a in message["To"].addresses] == ["Ann Ünal", ""]
    assert message["From"].addresses[0].display_name == "Häd, way"
    assert message["Reply-To"] == "help@headway.example"
    assert message["Message-ID"] == "<r1.7.0@headway.example>"
    assert message["Date"].datetime.timestamp() * 1000 == AT
    assert "Bcc" not in message
    assert message.get_body(("plain",)).get_content().splitlines() == ["Grüße", ".", "Ende"]
    assert message.get_body(("html",)).get_content().strip() == "<p>Grüße &amp; mehr</p>"


async def test_connections_are_kept_and_a_closed_one_is_replaced(mailer, mailbox):
    for number in range(5):
        await mailer.send(server(mailbox.port), mail(message_id=f"{number}"))
    assert len(mailbox.sessions) == 1
    (pool,) = mailer._pools.values()
    pool.idle[0].smtp.close()
    await mailer.send(server(mailbox.port), mail(message_id="6"))
    assert len(mailbox.mails) == 6


async def test_no_more_than_a_few_connections_are_open_to_one_server(mailer, mailbox):
    await asyncio.gather(*(mailer.send(server(mailbox.port), mail(message_id=f"{n}")) for n in range(20)))
    assert len(mailbox.mails) == 20
    assert len(mailbox.sessions) <= 4


BREAKS = ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]


@pytest.mark.parametrize("sign", BREAKS)
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "subject", "message_id"])
async def test_a_line_break_in_a_header_fails_the_mail(mailer, mailbox, field, sign):
    text = {"subject": "Hello", "message_id": "m"}.get(field, "ann@example.com")
    failed = await failure(mailer, server(mailbox.port), mail(**{field: f"{text}{sign}Bcc: eve@example.com"}))
    assert (failed.code, failed.retryable) == ("bad_mail", False)
    assert f"{field} has a line break" in failed.message
    assert mailbox.mails == []


HOSTILE = st.lists(
    st.sampled_from([
        "=?utf-8?q?a=0D=0AReply-To:=20eve@example.org?=", "=?utf-8?b?DQpCY2M6IGV2ZQ==?=", "=?us-ascii?q?=00?=", "=?", "?=", "=", "a", "Ann", " ", "  ", "\t",
        ",", ";", ":", '"', "\\", "<", ">", "<eve@example.org>", "(x)", "[", "@", ".", "\u202e", "\u200b", "\ufeff", "\xa0", "é", "\U0001f600", "e\u0301",
        "x" * 80, "\U0001f600" * 30, "Bcc:", "From ", "\r\n.\r\n", "\n.\n", "\r", "\n", "\x0b", "\x85", "\u2028", "\x00", "--=_", "\ud800",
    ]), max_size=8,
).map("".join)  # fmt: skip
REFUSED = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def lines(text):
    """Return a body's lines, however they end."""
    found = re.split("\r\n|\r|\n", text)
    return found[:-1] or [""] if found[-1] == "" else found


def named(raw, header):
    """Return what a receiver reads in a list of mailboxes; `email.policy.default` would keep the blanks between encoded words."""
    pairs = getaddresses([email.message_from_bytes(raw, policy=compat32)[header]])
    return [(str(make_header(decode_header(name))), address) for name, address in pairs]


def as_address(name, address):
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    subject=HOSTILE | st.text(),
    name=HOSTILE | st.text(),
    sender=HOSTILE | st.text(),
    body=HOSTILE | st.text(),
    html=HOSTILE,
)
@example(
    "=?utf-8?q?a=0D=0AReply-To:=20eve@example.org?=",
    "=?utf-8?q?=2C_eve@example.org?=",
    "=?utf-8?q?a=0D=0ABcc:_x?=",
    "=?utf-8?q?b?=",
    "",
)
@example("a  b ", "Ann  B", "", ".\r\nFrom me\n\n", "<p>.</p>")
async def test_every_value_arrives_as_the_text_that_it_is_and_nothing_else(
    mailer, mailbox, subject, name, sender, body, html
):
    mailbox.mails.clear()
    mailbox.raw.clear()
    given = mail(to=as_address(name, "ann@example.com") + ", bob@example.com", subject=subject, text=body, html=html)
    refused = any(map(REFUSED.search, (subject, name, sender))) or "\ud800" in body + html or len(name) > 200
    if refused:
        assert (await failure(mailer, server(mailbox.port, sender_name=sender), given)).code == "bad_mail"
        assert mailbox.mails == []
        return
    await mailer.send(server(mailbox.port, sender_name=sender), given)
    ((envelope_sender, recipients, message),) = mailbox.mails
    head = mailbox.raw[0].split(b"\r\n\r\n", 1)[0].decode("ascii")
    content = ["Content-Type", "MIME-Version", *([] if html else ["Content-Transfer-Encoding"])]
    expected = ["From", "To", *(["Subject"] if subject else []), "Date", "Message-ID", "Auto-Submitted", *content]
    assert sorted(line.split(":")[0] for line in head.split("\r\n") if line[0] not in " \t") == sorted(expected)
    assert all(len(line) < 998 and line.strip() and line.isprintable() for line in head.split("\r\n"))
    assert (envelope_sender, recipients) == ("reports@headway.example", ["ann@example.com", "bob@example.com"])
    assert named(mailbox.raw[0], "To") == [(name, recipients[0]), ("", recipients[1])]
    assert named(mailbox.raw[0], "From") == [(sender, envelope_sender)]
    assert (message["Subject"] or "") == subject
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/plain", *(["text/html"] if html else [])]
    assert lines(parts[0].get_content()) == lines(body or ("This mail is in HTML." if html else ""))
    assert not html or lines(parts[1].get_content()) == lines(html)


@pytest.mark.parametrize(
    "to", ["", "   ", "ann", "ann@", "@example.com", "a b@example.com", "ann@exa mple.com", "ann@-x.com", "ann@example..com", "a..b@example.com", "<ann@example.com",
           "ann@example.com>,", "ann@[127.0.0.1]", '"a b"@example.com', "é@example.com", "x" * 65 + "@example.com", "ann@example.com\tx", ", ".join(f"a{n}@x.org" for n in range(51))],
)  # fmt: skip
async def test_what_is_no_address_fails_the_mail(mailer, mailbox, to):
    failed = await failure(mailer, server(mailbox.port), mail(to=to))
    assert (failed.code, failed.retryable, failed.unreachable) == ("bad_mail", False, False)
    assert mailbox.mails == []


@pytest.mark.parametrize(
    "text",
    ["=?utf-8?q?ann?=@example.com", "=?utf-8?q?ann=40example.org=2C?=@example.com", "Ann <=?utf-8?b?eA==?=@x.org>"],
)
async def test_an_address_that_receivers_might_decode_is_none(mailer, mailbox, text):
    failed = await failure(mailer, server(mailbox.port), mail(to=text))
    assert (failed.code, failed.retryable) == ("bad_mail", False)
    assert mailbox.mails == []


@pytest.mark.parametrize("message_id", ["", "a b", "a>", "<a", "=?utf-8?q?a?=", "a\u00e9", "a@b", "a:b"])
async def test_a_message_id_that_could_be_read_as_something_else_fails_the_mail(mailer, mailbox, message_id):
    assert (await failure(mailer, server(mailbox.port), mail(message_id=message_id))).code == "bad_mail"
    assert mailbox.mails == []


def test_a_header_that_would_not_be_one_line_of_visible_signs_is_never_written():
    for words in (["a\r\nBcc: x"], ["a\n b"], ["a", ""], [" a"], ["a\x00"], ["\u00e9"], ["a\r"]):
        with pytest.raises(ValueError, match="Subject"):
            field("Subject", words)
    with pytest.raises(ValueError, match="no header"):
        field("Subject: x\r\nBcc", ["a"])


async def test_a_long_plain_subject_is_folded_and_not_encoded(mailer, mailbox):
    subject = "A report about everything " * 15 + "x" * 90
    await mailer.send(server(mailbox.port), mail(subject=subject))
    assert mailbox.mails[0][2]["Subject"] == subject
    assert b"=?" not in mailbox.raw[0]
    assert max(map(len, mailbox.raw[0].split(b"\r\n"))) <= 92


LONG = {
    "blanks": ("x", " ", "x"), "backslashes": ('"', "\\", ""), "quotes": ("", '"', ""), "brackets": ("", "<", ""), "dots": ("", "a.", "@b.c"),
    "labels": ("a@", "b.", ""), "letters": ("", "a", "@b.c"), "addresses": ("", "a@b.c,", ""), "name": ("", "x", " <a@b.c>"),
}  # fmt: skip
"""Of each: how it begins, what is repeated, how it ends."""


def long(kind, times):
    begins, repeated, ends = LONG[kind]
    return begins + repeated * times + ends


@pytest.mark.parametrize("kind", LONG)
async def test_a_list_of_addresses_that_is_too_long_fails_the_mail_at_once(mailer, mailbox, kind):
    for times in (201, 1_000_000):
        assert (await failure(mailer, server(mailbox.port), mail(to=long(kind, times)))).code == "bad_mail"


@pytest.mark.parametrize("kind", LONG)
def test_a_list_of_addresses_is_read_in_a_time_that_grows_with_its_length(monkeypatch, kind):
    monkeypatch.setattr("headway.outbound.letter.ADDRESSES_MAX", 1_000_000)
    began = time.process_time()
    with pytest.raises(InvalidInput):
        addresses(long(kind, 150_000), "to")
    assert time.process_time() - began < 5


async def test_a_senders_domain_goes_over_the_wire_in_ascii(mailer, mailbox):
    await mailer.send(server(mailbox.port, sender="reports@m\u00fcnchen.example"), mail())
    ((sender, _, message),) = mailbox.mails
    assert sender == message["From"].addresses[0].addr_spec == "reports@xn--mnchen-3ya.example"
    assert message["Message-ID"] == "<r1.7.0@xn--mnchen-3ya.example>"


async def test_a_domain_of_ones_own_script_goes_over_the_wire_in_ascii(mailer, mailbox):
    await mailer.send(server(mailbox.port), mail(to="ann@münchen.example"))
    assert mailbox.mails[0][1] == ["ann@xn--mnchen-3ya.example"]


async def test_nobody_gets_a_mail_twice_for_being_named_twice(mailer, mailbox):
    await mailer.send(server(mailbox.port), mail(cc="ann@example.com"))
    assert mailbox.mails[0][1] == ["ann@example.com"]


@pytest.mark.parametrize(("answer", "retryable"), [("451 later", True), ("550 no such user", False)])
async def test_a_recipient_who_is_refused_fails_the_mail_and_is_named(mailer, mailbox, answer, retryable):
    mailbox.refuse["ann@example.com"] = answer
    failed = await failure(mailer, server(mailbox.port), mail())
    assert (failed.code, failed.retryable, failed.unreachable) == ("smtp_recipients", retryable, False)
    assert f"ann@example.com: {answer}" in failed.message
    await mailer.send(server(mailbox.port), mail(to="bob@example.com"))  # the connection is good for the next
    assert len(mailbox.mails) == 1


async def test_if_some_recipients_were_taken_the_mail_is_not_sent_again(mailer, mailbox):
    mailbox.refuse["ann@example.com"] = "451 later"
    failed = await failure(mailer, server(mailbox.port), mail(to="ann@example.com, bob@example.com"))
    assert not failed.retryable
    assert "refused 1 of 2 recipients: ann@example.com: 451" in failed.message
    assert mailbox.mails[0][1] == ["bob@example.com"]


@pytest.mark.parametrize(("answer", "retryable"), [("452 full", True), ("554 5.7.1 spam\x1b[31m", False)])
async def test_a_mail_that_is_refused_fails_with_the_servers_words(mailer, mailbox, answer, retryable):
    mailbox.after_data = answer
    failed = await failure(mailer, server(mailbox.port), mail())
    assert (failed.code, failed.retryable) == (f"smtp_{answer[:3]}", retryable)
    assert "\x1b" not in failed.message


@pytest.fixture
def collected():
    """Have what a test leaves behind collected after its loop has ended and while its filters of warnings still hold."""
    yield
    gc.collect()


# A listener of asyncio closes the socket of a handshake that failed later than the loop of the test lives.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["starttls", "tls"])
async def test_mail_goes_encrypted_to_who_is_trusted_and_to_nobody_else(collected, certified, trusting, kind):
    box = MailBox(
        certified,
        starttls=kind == "starttls",
        implicit=kind == "tls",
        login=("ann", "pw") if kind == "starttls" else None,
    )
    await box.begin()
    good, wary = Mailer(EgressPolicy(["127.0.0.1"]), tls=trusting), Mailer(EgressPolicy(["127.0.0.1"]))
    login = {"username": "ann", "password": "pw"} if kind == "starttls" else {}
    await good.send(server(box.port, security=kind, **login), mail())
    assert len(box.mails) == 1
    failed = await failure(wary, server(box.port, security=kind, **login), mail())
    assert "certificate" in failed.message
    if login:
        failed = await failure(good, server(box.port, security=kind, username="ann", password="wrong"), mail())
        assert (failed.code, failed.retryable, failed.unreachable) == ("smtp_login", False, True)
        assert "wrong" not in failed.message
    for mailer in (good, wary):
        await mailer.close()
    await box.end()
    assert len(box.mails) == 1


async def test_a_server_without_starttls_gets_no_mail_if_it_was_asked_for(mailer, mailbox):
    failed = await failure(mailer, server(mailbox.port, security="starttls"), mail())
    assert failed.unreachable
    assert "STARTTLS" in failed.message
    assert mailbox.mails == []


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 hi\r\n",
        b"\x00\xff" * 50_000,
        b"220-" + b"x" * 100_000,
        b"554 go away\r\n",
        b"421 busy\r\n",
    ],
)
async def test_who_lies_fails_the_mail_in_words(mailer, says):
    async with Raw(says, speaks_first=True) as liar:
        failed = await failure(mailer, server(liar.port), mail())
    assert failed.unreachable
    assert "127.0.0.1" in failed.message


async def test_who_says_nothing_has_so_long_and_no_longer():
    mailer = Mailer(EgressPolicy(["127.0.0.1"]), timeout_s=0.3)
    for says in (b"", b"220 hi\r\n"):
        async with Raw(says, speaks_first=True, closes=False) as silent:
            began = time.monotonic()
            failed = await failure(mailer, server(silent.port), mail())
            assert (failed.retryable, failed.unreachable) == (True, True)
            assert time.monotonic() - began < 3
    await mailer.close()


LIES = {
    "silence": "silence", "close": "close", "drip": "drip", "garbage": b"\x00\xff" * 5000 + b"\r\n", "no code": b"hello\r\n",
    "another code": b"999 no such thing\r\n", "huge": b"250-" + b"x" * 300_000, "endless": b"250-more\r\n" * 50_000,
    "refusal": b"554 not you\r\n",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_who_lies_in_the_middle_fails_the_mail_in_time_and_stalls_nobody_else(mailbox, lie):
    mailer = Mailer(EgressPolicy(["127.0.0.1"]), timeout_s=0.5)
    for step in MisbehavingMailServer.STEPS:
        async with MisbehavingMailServer(step, LIES[lie]) as liar:
            began = time.monotonic()
            failing = asyncio.create_task(failure(mailer, server(liar.port), mail()))
            await liar.asked.wait()
            await mailer.send(server(mailbox.port), mail(message_id=f"{step}"))
            failed = await failing
            assert time.monotonic() - began < 5
        assert "127.0.0.1" in failed.message, step
        assert failed.retryable or lie in ("refusal", "another code"), (step, failed)
    assert len(mailbox.mails) == len(MisbehavingMailServer.STEPS)
    await mailer.close()


async def test_who_cannot_be_reached_fails_the_mail_in_words(mailer):
    async with Raw() as gone:
        port = gone.port
    failed = await failure(mailer, server(port), mail())
    assert failed.code == "unreachable"
    assert f"127.0.0.1:{port} cannot be reached: " in failed.message
    assert "refused" in failed.message.lower()


async def test_a_mail_server_inside_is_refused_when_it_is_named_and_when_it_is_dialled(mailbox):
    with pytest.raises(TargetRefused):
        check_server(server(), EgressPolicy())
    policy = EgressPolicy(resolve=leading_to("8.8.8.8", "127.0.0.1"))
    named = server(host="mail.example.com", security="starttls")
    await policy.look_up(check_server(named, policy))
    mailer = Mailer(policy)
    failed = await failure(mailer, named, mail())
    assert (failed.code, failed.retryable) == ("target_refused", False)
    failed = await failure(mailer, server(mailbox.port), mail())
    assert failed.code == "target_refused"
    assert mailbox.mails == []
    await mailer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"sender": "x"},
        {"sender": "a@b.c, d@e.f"},
        {"sender": "Ann <a@b.c>"},
        {"sender": ""},
        {"sender_name": "a\r\nb"},
        {"reply_to": "a@b.c\nBcc: d@e.f"},
        {"username": "ann", "password": "pw"},
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong):
    with pytest.raises(InvalidInput):
        check_server(server(host="mail.example.com", **wrong), EgressPolicy())
