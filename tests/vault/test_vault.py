"""What is sealed opens again in its own place, under its own key, unchanged; and in no other case."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.vault import NotOpened, Vault, as_secrets

SECRET, OTHER = b"a" * 32, b"b" * 40
URL = "postgresql://me:p%40ss@db.example/one"


def flipped(sealed, at):
    """The sealed text with one bit of its body changed."""
    head, _, body = sealed.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    raw[at // 8 % len(raw)] ^= 1 << at % 8
    return f"{head}.{base64.urlsafe_b64encode(bytes(raw)).rstrip(b'=').decode()}"


@given(st.text(), st.text())
def test_what_is_sealed_opens_in_its_place(belongs_to, text):
    place, text = belongs_to.encode("utf-8", "replace").decode(), text.encode("utf-8", "replace").decode()
    vault = Vault(SECRET)
    assert vault.open(place, vault.seal(place, text)) == text


def test_a_sealed_text_shows_nothing_and_never_looks_the_same_twice():
    vault = Vault(SECRET)
    first, second = vault.seal("smtp:default", URL), vault.seal("smtp:default", URL)
    assert first != second
    assert first.startswith("v1.")
    assert "p%40ss" not in base64.urlsafe_b64decode(first.rsplit(".", 1)[1] + "==").decode("latin-1")


def test_another_server_with_the_same_secret_opens_it():
    assert Vault(SECRET).open("table:1:url", Vault(SECRET).seal("table:1:url", URL)) == URL


def test_moved_to_another_place_it_does_not_open():
    vault = Vault(SECRET)
    with pytest.raises(NotOpened, match="table:2:url was changed or moved"):
        vault.open("table:2:url", vault.seal("table:1:url", URL))


def test_changed_in_any_bit_it_does_not_open():
    vault = Vault(SECRET)
    sealed = vault.seal("smtp:default", "pw")
    for at in range(8 * (12 + 2 + 16)):
        with pytest.raises(NotOpened, match="changed or moved"):
            vault.open("smtp:default", flipped(sealed, at))


@pytest.mark.parametrize("cut", [0, 1, 5, 11, 12, 13, 30])
def test_cut_off_it_does_not_open(cut):
    vault = Vault(SECRET)
    head, _, body = vault.seal("smtp:default", "password").rpartition(".")
    with pytest.raises(NotOpened, match="changed or moved"):
        vault.open("smtp:default", f"{head}.{body[:cut]}")


@pytest.mark.parametrize("text", ["", "v1", "v1.", "v1..", "v2.0011223344556677.AAAA", "plain text", "v1.x.é", "."])
def test_what_was_never_sealed_is_refused_in_words(text):
    with pytest.raises(NotOpened, match=r"smtp:default (is not sealed in a form|was sealed with another key)"):
        Vault(SECRET).open("smtp:default", text)


def test_under_another_secret_it_does_not_open_and_the_refusal_says_what_to_do():
    with pytest.raises(NotOpened, match="name the store's earlier secret") as refused:
        Vault(OTHER).open("smtp:default", Vault(SECRET).seal("smtp:default", "pw"))
    assert "pw" not in str(refused.value)


def test_after_a_rotation_old_texts_open_and_new_ones_need_the_new_secret():
    old = Vault(SECRET).seal("smtp:default", "pw")
    rotated = Vault(OTHER, earlier=[SECRET])
    assert rotated.open("smtp:default", old) == "pw"
    assert not rotated.is_current(old)
    new = rotated.seal("smtp:default", "pw")
    assert rotated.is_current(new)
    assert Vault(OTHER).open("smtp:default", new) == "pw"
    with pytest.raises(NotOpened):
        Vault(SECRET).open("smtp:default", new)


def test_a_text_does_not_open_under_the_name_of_another_key():
    rotated = Vault(OTHER, earlier=[SECRET])
    body = Vault(SECRET).seal("x", "pw").rsplit(".", 1)[1]
    head = rotated.seal("x", "pw").rsplit(".", 1)[0]
    with pytest.raises(NotOpened):
        rotated.open("x", f"{head}.{body}")


def test_naming_the_present_secret_as_an_earlier_one_changes_nothing():
    vault = Vault(SECRET, earlier=[SECRET])
    assert vault.open("x", vault.seal("x", "pw")) == "pw"


def test_a_short_secret_is_refused():
    with pytest.raises(AssertionError, match="too short"):
        Vault(b"short")


def test_the_secret_of_a_key_file_is_named_by_its_content():
    kept = bytes(range(32))
    sealed = Vault(kept).seal("x", "pw")
    assert Vault(OTHER, as_secrets([kept.hex()])).open("x", sealed) == "pw"
    given = "q" * 32
    assert Vault(OTHER, as_secrets([given])).open("x", Vault(given.encode()).seal("x", "pw")) == "pw"
    with pytest.raises(ValueError, match="an earlier secret is too short"):
        as_secrets(["short"])
