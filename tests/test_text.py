"""Text for people: numbers in words, and output of any encoding."""

import io
import sys

import pytest

from metasr.text import make_output_encodable, pluralize


def printed(text: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bytes that standard output gets of a text."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    make_output_encodable()
    print(text, end="", flush=True)
    return raw.getvalue()


def test_numbers_in_words() -> None:
    assert [pluralize(n, "update") for n in (0, 1, 2, 3.5)] == ["0 updates", "1 update", "2 updates", "3.5 updates"]


@pytest.mark.parametrize(
    ("text", "encoding", "want"),
    [
        ("┏━┳━┓│×2 … ±0.1", "utf-8", "┏━┳━┓│×2 … ±0.1".encode()),
        ("┏━┳━┓│×2 … ±0.1", "ascii", b"+-+-+|x2 ... +/-0.1"),
        ("┃×2 – é", "cp1252", b"|\xd72 \x96 \xe9"),
        ("写真.png", "ascii", rb"\u5199\u771f.png"),
        ("\udcff.png", "utf-8", rb"\udcff.png"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(
    text: str, encoding: str, want: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(text, encoding, monkeypatch) == want


def test_streams_of_other_kinds_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    make_output_encodable()
    print("×")
    assert sys.stdout.getvalue() == "×\n"  # type: ignore[attr-defined]
