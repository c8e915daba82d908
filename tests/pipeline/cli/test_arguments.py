"""Errors of Python name its arguments; the command line prints them as its own options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import app as program
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.cli.arguments import as_options, options_of
from terralatent.pipeline.export.formats import export

ROOT = Path(__file__).resolve().parents[3]
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
STAYS = ('{"out": 3}', "s3://b/out=3/a", "out=/a/b", "a=b", "format == 3", "model?out=3")


def test_no_message_of_python_names_an_option() -> None:
    paths = [
        path for room in ("catalogs", "models", "pipeline") for path in (ROOT / room).rglob("*.py")
    ]
    wrong = [
        f"{path}:{node.lineno}: {node.value}"
        for path in paths
        if ROOT / "pipeline" / "cli" not in path.parents
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"[\s(`]--[a-z]", node.value)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("verb", "message", "printed"),
    [
        ("build", "choose another out=.", "choose another --out."),
        ("build", "(a quarter of memory=)", "(a quarter of --memory)"),
        ("build", 'give it (offsets={"s2": NUMBER})', "give it (--offset s2=NUMBER)"),
        ("build", "in a file of described=", "in a file of --sources"),
        ("build", "strict_placement=True masks them", "--strict-placement masks them"),
        ("embed", "leave it (overviews=False)", "leave it (--no-overviews)"),
        ("embed", "(sensors=), or columns=.", "(--sensor), or --columns."),
        ("export", 'shards= is of format="zarr", not', "--shards is of --format zarr, not"),
        ("export", "take zarr_format=3.", "take --zarr-format 3."),
        ("publish", "name= with letters", "--id with letters"),
        ("train", "begin from it (pretrained=)", "begin from it (--from)"),
        ("train", 'start at random (start="random").', "start at random (--set start=random)."),
        ("classify", 'ignore=["bare soil"].', "--ignore 'bare soil'."),
        ("status", "choose another out=.", "choose another out=."),
        *(("export", text, text) for text in STAYS),
    ],
)
def test_arguments_are_printed_as_options(verb: str, message: str, printed: str) -> None:
    assert as_options(message, options_of(VERBS[verb])) == printed


def test_the_same_mistake_in_python_and_at_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r'files= is of format="cog"') as raised:
        export(tmp_path, tmp_path / "out.zarr", files="date")
    assert "--" not in str(raised.value)

    words = ["export", str(tmp_path), "--out", str(tmp_path / "out.zarr"), "--files", "date"]
    monkeypatch.setattr(program.sys, "argv", ["terralatent", *words])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert "--files is of --format cog, not of zarr; leave it out." in capsys.readouterr().err
