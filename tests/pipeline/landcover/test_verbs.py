"""The verbs on a command line: pages, pictures, exit codes and the line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.pictures.show import show
from tests.made.latents import NAMES, Fields, made_up_fields


def run(*words: object) -> int:
    return app(args=[str(word) for word in words], standalone_mode=False) or 0


def test_verbs_print_their_pages_and_keep_their_reports(
    fields: Fields, workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, where = tmp_path / "fields.geojson", ("--client", workers.scheduler.address)
    fields.frame.to_crs("EPSG:4326").to_file(labels)
    file = ("--labels", labels, "--column")

    crop = (*file, "crop", "--color", "maize=#123456", "--report", tmp_path / "crops.json")
    assert run("classify", fields.latents, *crop, "--out", tmp_path / "crops", *where) == 0
    printed = capsys.readouterr().out
    for words in (*NAMES, "56 labels", "accuracy", "macro F1", "with no design-based error"):
        assert words in printed
    assert json.loads((tmp_path / "crops.json").read_text())["task"] == "classes"
    assert not (tmp_path / "crops.report.json").exists()

    assert run("regress", fields.latents, *file, "number", "--out", tmp_path / "n", *where) == 0
    printed = capsys.readouterr().out
    for words in ("RMSE", "R2", "Ridge(alpha="):
        assert words in printed
    assert json.loads((tmp_path / "n.report.json").read_text())["task"] == "number"

    assert run("status", tmp_path / "crops") == 0
    assert "1 grass, 2 maize, 3 water" in " ".join(capsys.readouterr().out.split())


def test_a_map_with_losses_ends_with_three(
    workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = made_up_fields(tmp_path / "latents", pending=True)
    fields.frame.to_file(tmp_path / "fields.gpkg")
    words = ("--labels", tmp_path / "fields.gpkg", "--column", "crop", "--out", tmp_path / "map")
    assert run("classify", fields.latents, *words, "--client", workers.scheduler.address) == 3
    assert "the latents are not whole in 1 blocks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--column", "kind"), "no column 'kind'; they have crop, code, number, farm"),
        (("--column", "crop", "--color", "#fff"), "'#fff' is of no class; give CLASS="),
        (("--column", "crop", "--color", "oat=#fff"), "for 'oat', which is no class; the classes"),
        (("--column", "crop", "--strata", "crop"), "give both the design `stratified` and the"),
        (("--column", "crop", "--at", "WHEN"), "has no snapshot WHEN"),
    ],
)
def test_mistakes_are_named(
    fields: Fields, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    fields.frame.to_file(tmp_path / "fields.gpkg")
    labels = ("--labels", tmp_path / "fields.gpkg", "--out", tmp_path / "map")
    with pytest.raises(InputError, match=said):
        run("classify", fields.latents, *labels, *words)
    assert not (tmp_path / "map").exists()


def test_a_map_gives_pictures(land: Path, tmp_path: Path) -> None:
    for variable in (None, "entropy", "maize"):
        out = show(land, tmp_path / "map.png", variable=variable)
        assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no 'oat' here; there are entropy, grass, maize, water"):
        show(land, tmp_path / "other.png", variable="oat")
    with pytest.raises(InputError, match="is a map, which has no sensors, dates and series"):
        show(land, tmp_path / "other.png", pixel="1,1")
