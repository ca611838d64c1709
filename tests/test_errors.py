"""Errors: one line each, whatever is in it."""

from __future__ import annotations

import pytest

from hepgan.errors import HepganError, InputError, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Muon.pt, m(ee) = √s é", "Muon.pt, m(ee) = √s é"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        (b"x\xff.root".decode("utf-8", "surrogateescape"), r"x\xff.root"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable_escapes_what_no_terminal_should_get(text: str, line: str) -> None:
    assert printable(text) == line
    assert printable(line) == line


def test_error_is_one_line_that_can_be_written() -> None:
    error = InputError("of two\nlines \x1b[2J", file="a\nb\udcff", branch="\x07", entry=3)
    assert str(error) == r"a\nb\xff, branch \x07, entry 3: of two lines \x1b[2J"
    assert error.file == "a\nb\udcff"
    assert str(HepganError("nothing to say")) == "nothing to say"
