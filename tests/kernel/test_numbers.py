"""Numbers that are slow to parse are counted outside of texts only, and texts are found as JSON has them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.numbers import FAR_MAX, too_many_far, without_texts

TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
"""A JSON string, written as its definition."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a\\"/e1\n\u00e9')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('a\\"')), inner),
)


@given(JSON)
def test_what_is_left_without_texts_is_all_that_stands_outside_of_them(value):
    data = json.dumps(value).encode()
    assert without_texts(data) == TEXT.sub(b"", data)


@pytest.mark.parametrize("text", [b'"1e308"', b'"\\"1e308"', b'"\\\\\\"1e308"', b'"1e308\\\\"', b'"\\\\", "1e308"'])
def test_numbers_in_texts_do_not_count(text):
    many = b"[" + b",".join([text] * (FAR_MAX + 1)) + b"]"
    assert json.loads(many)
    assert not too_many_far(many)
    assert too_many_far(many[:-1] + b"," + b",".join([b"1e308"] * (FAR_MAX + 1)) + b"]")
