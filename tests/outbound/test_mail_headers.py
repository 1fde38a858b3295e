"""Headers of mails, read by two decoders that know nothing of each other: both see exactly what was written."""

import email
import re
from email.header import decode_header, make_header
from email.policy import compat32, default
from email.utils import getaddresses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.outbound import rfc2047

from headway.outbound.letter import Mail, MailServer
from headway.outbound.mail import compose

WORDS = st.sampled_from([
    "Grüße", "aus", "Köln", "世界", "こんにちは世界", "Ünal", "é", "e\u0301", "🎉", "👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "naïve", "a", "I", "Report", "100 %",
    "=?utf-8?q?x?=", "=?", "?=", "_", "=", "=20", '"quoted"', "(comment)", "a,b", "<x>", "\\", "x" * 70, "x" * 200, "é" * 40, "ﬁ", "\u202e", "\xa0",
])  # fmt: skip
BLANKS = st.sampled_from([" ", " ", " ", "", "  ", "   "])
TEXTS = st.lists(st.tuples(BLANKS, WORDS, BLANKS).map("".join), min_size=1, max_size=6).map("".join)
ENCODED = re.compile(r"=\?[^?]*\?[^?]*\?[^?]*\?=")


def written(subject="s", name="", sender=""):
    """Return the head of a mail, as it goes over the wire."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    server = MailServer(host="mx.example.com", sender="reports@headway.example", sender_name=sender)
    to = f'"{escaped}" <ann@example.com>, bob@example.com' if name else "ann@example.com"
    content = compose(server, Mail(to=to, subject=subject, message_id="m", at_ms=0)).content
    return content.partition(b"\r\n\r\n")[0].decode("ascii") + "\r\n"


def by_the_library(head, field):
    """Return the text of a field as Python's older decoder has it; it leaves the unfolding to its caller."""
    value = email.message_from_string(head, policy=compat32)[field].replace("\r\n", "").replace("\n", "")
    return str(make_header(decode_header(value)))


def names_by_the_library(head, field):
    value = email.message_from_string(head, policy=compat32)[field].replace("\r\n", "").replace("\n", "")
    return [(str(make_header(decode_header(name))), address) for name, address in getaddresses([value])]


@settings(deadline=None, max_examples=400)
@given(
    TEXTS.filter(lambda text: len(text) <= 500)
    | st.text(st.characters(blacklist_categories=["C", "Zl", "Zp"]), min_size=1, max_size=200)
)
@example(" ")
@example("   ")
@example("é  é")
@example("a é b é c")
@example("é" * 500)
@example("x" * 500)
@example(" é")
@example("é ")
def test_a_subject_is_read_by_every_decoder_as_it_was_written(subject):
    head = written(subject=subject)
    assert rfc2047.text(rfc2047.unfolded(head, "Subject")) == subject
    assert by_the_library(head, "Subject") == subject
    assert email.message_from_string(head, policy=default)["Subject"] == subject
    check_lines(head)


@settings(deadline=None, max_examples=400)
@given(TEXTS.filter(lambda text: len(text) <= 200 and text.strip()))
@example("Ann Ünal")
@example("Ünal Ünal-Çelik Müşteri Hizmetleri ve Çözüm Ortaklari")
@example('Häd, "way" (x)')
def test_a_display_name_is_read_by_every_decoder_as_it_was_written(name):
    head = written(name=name, sender=name)
    assert rfc2047.mailboxes(rfc2047.unfolded(head, "To")) == [(name, "ann@example.com"), ("", "bob@example.com")]
    assert rfc2047.mailboxes(rfc2047.unfolded(head, "From")) == [(name, "reports@headway.example")]
    assert names_by_the_library(head, "To") == [(name, "ann@example.com"), ("", "bob@example.com")]
    assert names_by_the_library(head, "From") == [(name, "reports@headway.example")]
    check_lines(head)


def check_lines(head):
    """Lines with an encoded word have up to 76 characters (RFC 2047, 2), others up to 998 (RFC 5322, 2.1.1)."""
    for line in head.split("\r\n"):
        assert len(line) <= (76 if ENCODED.search(line) else 998)


@pytest.mark.parametrize("field", ["Subject", "To", "From"])
def test_no_character_is_split_between_two_encoded_words(field):
    head = written(**{{"Subject": "subject", "To": "name", "From": "sender"}[field]: "👩\u200d👩\u200d👧\u200d👦" * 8})
    words = ENCODED.findall(head)
    assert len(words) > 4
    for word in words:
        assert decode_header(word)[0][0].decode("utf-8")
