"""Page tokens and cursors: their holders can give them back, and neither read nor change them."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from headway.ids import Signer

SIGNER = Signer(b"x" * 32)
TEXTS = st.text(max_size=300).filter(lambda text: text.isprintable())


@given(text=TEXTS, purpose=TEXTS)
def test_what_was_concealed_is_revealed_to_the_same_secret_scope_and_purpose_alone(text, purpose):
    token = SIGNER.conceal(purpose, text)
    assert SIGNER.reveal(purpose, token) == text
    assert SIGNER.reveal(f"{purpose}.", token) is None
    assert SIGNER.within("other").reveal(purpose, token) is None
    assert Signer(b"y" * 32).reveal(purpose, token) is None
    assert SIGNER.unseal(purpose, token) is None


@given(text=TEXTS, at=st.integers(0, 10_000), other=st.sampled_from("Ab3-_.=! \n"))
def test_a_token_that_was_changed_is_none(text, at, other):
    token = SIGNER.conceal("page", text)
    at %= len(token) + 1
    for changed in (token[:at] + other + token[at + 1 :], token[:at] + other + token[at:], token[:at], token + "="):
        assert changed == token or SIGNER.reveal("page", changed) is None


@given(text=st.text("abc ", min_size=16, max_size=100))
def test_a_token_shows_nothing_of_its_text(text):
    token = SIGNER.conceal("page", text)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert text.encode() not in raw
    assert text[:8].encode() not in raw
    assert SIGNER.conceal("page", text) == token
