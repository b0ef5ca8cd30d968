"""CSV that a spreadsheet cannot take for formulas, and that is read back as it was."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasr.io.csv import columns_of, format_csv, parse_csv

HOSTILE = [
    '=HYPERLINK("http://x","y")',
    "+1+2",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "=",
    "'=1",
    "''-x",
    "+experiment=a",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_begins_as_a_formula_does(text: str) -> None:
    written = format_csv(["a", "b"], [[text, 1]])
    (cells,) = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert cells[0].startswith("'")
    assert cells[1] == "1"
    assert parse_csv(written) == [{"a": text, "b": "1"}]


@pytest.mark.parametrize(("cell", "written"), [(-1.5, "-1.5"), ("-1.5", "-1.5"), ("+2e3", "+2e3"), ("-", "-"),
                                               ("a=b", "a=b"), (None, ""), (True, "True"), (-0.0, "-0.0")])  # fmt: skip
def test_numbers_and_plain_text_stay_as_they_are(cell: object, written: str) -> None:
    assert format_csv(["a"], [[cell]]) in (f"a\n{written}\n", 'a\n""\n')


def test_a_heading_is_text_too() -> None:
    assert format_csv(["=a", "b"], []) == "'=a,b\n"
    assert parse_csv("'=a,b\n1,2\n") == [{"=a": "1", "b": "2"}]
    assert columns_of("a,b\n1,2\n") == ["a", "b"]
    assert columns_of("") == parse_csv("") == []


ANY_TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(ANY_TEXT, min_size=2, max_size=2))
def test_what_is_written_is_read_back(cells: list[str]) -> None:
    assert parse_csv(format_csv(["a", "b"], [cells])) == [dict(zip("ab", cells, strict=True))]


def test_short_rows_and_damage() -> None:
    assert parse_csv("a,b\n1\n") == [{"a": "1"}]
    with pytest.raises(ValueError, match=r"quote|delimiter|end of data"):
        parse_csv('a\n"1')
