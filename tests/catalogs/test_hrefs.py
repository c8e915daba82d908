"""What others wrote is shown and stored without secrets, and without what a terminal obeys."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable, printable_json
from terralatent.pipeline.cli.pages.text import fact_table
from terralatent.pipeline.cli.terminal import Terminal

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/a.tif?sig={SECRET}",
        f"'/vsicurl/https://host/a.tif?sv=1&sig={SECRET}' not recognized",
        f"HTTPSConnectionPool(host='host', port=443): with url: /v1?key={SECRET} (Caused by x)",
        f"https://me:{SECRET}@host/v1: 401",
        f'{{"href":"https://host/a.tif?sig={SECRET}","b":1}}',
        f"see https://host/a#access_token={SECRET}, please.",
        f'{{"token": "{SECRET}", "x": 1}}',
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"{{'authorization': 'Basic {SECRET}'}}",
        f"https://host/a?x='{SECRET}'",
    ],
)
def test_no_text_that_is_shown_holds_a_secret(text: str) -> None:
    assert SECRET not in without_secrets(text)
    assert without_secrets(without_secrets(text)) == without_secrets(text)
    assert SECRET not in str(InputError(f"It failed: {text}."))


def test_a_text_without_secrets_stays_as_it_is() -> None:
    for text in (
        "error: S2_A B03: Read failed: tile 5, 7 (#2)? Not so; see https://host.org/a/b.tif.",
        "The source needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; tokens: none.",
        "choose another --out, or remove it. key = 5, keys 1=2",
    ):
        assert without_secrets(text) == text


@given(st.text())
@settings(deadline=None, derandomize=True)
def test_what_is_printable_can_be_written_and_moves_no_cursor(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert len(shown) == len(text)
    assert printable_json({"a": [text, {text: 1}]}) == {"a": [shown, {shown: 1}]}


def test_values_nested_beyond_reason_end_somewhere() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert str(printable_json(deep)).count("[") == 50


@pytest.mark.parametrize("log_json", [False, True])
def test_a_terminal_shows_the_words_of_others_and_obeys_none(
    capsys: pytest.CaptureFixture[str], log_json: bool
) -> None:
    evil = f"S2_A\x1b[2J\x9b31m\u202e\x07 at https://host.org/a.tif?sig={SECRET}"
    terminal = Terminal()
    terminal.console = Console(file=sys.stderr, soft_wrap=True)
    terminal.settle(debug=True, log_json=log_json)
    terminal.say(evil)
    terminal.warn(evil, head="lost")
    terminal.log(logging.LogRecord("x", logging.WARNING, "", 0, "%s", (evil,), None))
    try:
        raise ValueError(evil)
    except ValueError as error:
        terminal.complain(error)
    terminal.show(fact_table(iter([("items", evil), ("", f"1 dropped:\n{evil}")])))
    terminal.show({"id": evil.partition("?")[0]})
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert all(line.isprintable() for line in text.splitlines())
    assert SECRET not in printed.err
    assert "Traceback" in printed.err
