"""CSV files: what is written is read back as it was, and no cell of it is a formula to a spreadsheet."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.features.tables.rules.formats import format_rows, rows, unquoted

HOSTILE = st.text(
    st.sampled_from(
        "'=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c \t\r\n\x00\x0b\x85\xa0\ufeff\u200b\u200f\u2028\u3000\xad\",;|a5\u2212é"
    ),
    max_size=6,
)
DANGEROUS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c"


def cells(texts, **how):
    """Return a row as a spreadsheet sees it: the cells, with nothing taken away."""
    text = format_rows([texts], [f"f{n}" for n in range(len(texts))], "csv", first=False, **how)
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=how.get("delimiter", ",")))


@given(st.lists(HOSTILE | st.text(), min_size=1, max_size=5), st.sampled_from(",;\t|="))
@example(["'", "''", "'=", "' =", "\u200b'=", "'\n", "-5"], ",")
def test_what_is_written_is_read_back_as_it_was_with_any_delimiter(texts, delimiter):
    names = [f"f{n}" for n in range(len(texts))]
    text = format_rows([texts], names, "csv", first=False, delimiter=delimiter)
    (row,) = rows(text.encode(), "csv", last=True, limit=9, delimiter=delimiter)
    assert [unquoted(cell) for cell in row.cells] == texts


@given(HOSTILE)
def test_no_cell_that_is_written_begins_as_a_formula(text):
    (cell,) = cells([text])
    invisible = " \t\r\n\x00\x0b\x85\xa0\ufeff\u200b\u200f\u2028\u3000\xad"
    assert cell.lstrip(invisible)[:1] not in set(DANGEROUS)
    assert cell[:1] not in {"\t", "\r", "\n", "\x00", "\x0b"}


@pytest.mark.parametrize(
    "before", ["", "\n", "\r\n", "\t", " ", "\xa0", "\u3000", "\ufeff", "\u200b", "\x00", "\u202e", "\xad"]
)
def test_a_text_that_begins_with_a_sign_of_formulas_gets_a_quote(before):
    texts = [f"{before}{sign}1+1" for sign in DANGEROUS]
    assert cells(texts) == [f"'{text}" for text in texts]


@pytest.mark.parametrize("text", ["", "a=1", "5-4", "é", "  indented", "'quoted'", "(1)", "€5", "\u200b", "—", "#N/A"])
def test_other_texts_are_left_as_they_are(text):
    assert cells([text]) == [text]


def test_numbers_stay_numbers_and_names_of_columns_are_texts():
    assert format_rows([[-5, -0.5, "-5", None, True]], ["=n", "+m", "x", "y", "\uff1dz"], "csv", first=True) == (
        "'=n,'+m,x,y,'\uff1dz\r\n-5,-0.5,'-5,,true\r\n"
    )
