"""Changes between two runs as a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

import terralatent as tl
from terralatent.catalogs.errors import InputError
from terralatent.pipeline import embed
from terralatent.pipeline.store.history import history
from terralatent.pipeline.store.repository import Store
from tests.made.models import awake_model
from tests.made.tiny import tiny_cube
from tests.pipeline.changes.conftest import BLOCK, DATES, SIDE, Grown


@pytest.fixture(scope="module")
def moved(grown: Grown, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both dates compared; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "moved"
    between = (grown.older, grown.newer)
    report = tl.changes(grown.newer, between=between, out=out, client=workers)
    assert len(report.marked) == 2
    assert not report.losses
    return out


def test_distances_are_those_of_what_both_kept(moved: Path, grown: Grown) -> None:
    older, newer = (tl.open_latents(store).load() for store in (grown.older, grown.newer))
    shrunk = older["std"].astype(float) ** 2 - newer["std"].astype(float) ** 2
    step = (newer["mean"] - older["mean"]).astype(float)
    z = (step / np.sqrt(shrunk + 2.0 * 2.5e-4**2 / 12.0)).where(shrunk > 1e-3)

    found = tl.open_changes(moved).load()

    clearly = ((shrunk > 1e-3) == (shrunk > 1e-6)).all("latent")
    assert clearly.mean() > 0.5
    squared = (z**2).sum("latent").where(clearly)
    known = clearly & np.isfinite(found["distance"])
    np.testing.assert_allclose(
        found["distance"].where(known), np.sqrt(squared).where(known), rtol=2e-3, atol=1e-3
    )
    np.testing.assert_array_equal(
        found["degrees"].where(known), (shrunk > 1e-3).sum("latent").where(known)
    )
    assert (found["changed"].isel(x=-1) == 255).all()
    assert "expected_distance" not in found


def test_what_is_no_better_known_is_not_known_enough(moved: Path) -> None:
    found = tl.open_changes(moved).isel(x=slice(0, -1)).load()

    np.testing.assert_array_equal(found["changed"] == 2, found["degrees"] == 0)


def test_a_date_is_chosen(moved: Path, grown: Grown, workers: Client, tmp_path: Path) -> None:
    between = (grown.older, grown.newer)
    tl.changes(grown.newer, between=between, date="2018-03", out=tmp_path / "one", client=workers)

    one, both = tl.open_changes(tmp_path / "one").load(), tl.open_changes(moved).load()
    np.testing.assert_array_equal(one["distance"][0], both["distance"][1])
    np.testing.assert_array_equal(one["changed"][0], both["changed"][1])


def test_snapshots_of_one_store_name_runs(grown: Grown, tmp_path: Path) -> None:
    """They are found by the beginning of their ids; of the same cube there is nothing new."""
    states = history(grown.newer)
    first, last = states[-1].id, states[0].id

    with pytest.raises(InputError, match=r"same state of a cube.*nothing came in since"):
        tl.changes(grown.newer, between=(first[:6].lower(), last), out=tmp_path / "out")


def test_the_wrong_way_round_nothing_is_known(
    grown: Grown, workers: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    between = (grown.newer, grown.older)
    report = tl.changes(
        grown.newer, between=between, date="2018-03-15", out=tmp_path / "out", client=workers
    )

    assert report.marked[0].tests == 0
    assert "Is the older run the first one" in caplog.text


def test_runs_that_do_not_compare_are_refused(
    grown: Grown, workers: Client, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    other = awake_model(grown.cube, tmp_path / "own", seed=9)
    embed(grown.cube, other, tmp_path / "other", dates=DATES, client=workers)
    embed(grown.cube, grown.model, tmp_path / "when", dates="2017-12-01", client=workers)
    wide = tiny_cube(tmp_path / "wide", side=SIDE + 9, block=BLOCK, sensors=("sentinel-2-l2a",))
    embed(wide, grown.model, tmp_path / "pixels", dates=DATES, client=workers)

    def refused(newer: Path, words: str, **more: object) -> None:
        with pytest.raises(InputError, match=words):
            tl.changes(grown.newer, between=(grown.older, newer), out=tmp_path / "out", **more)

    refused(tmp_path / "other", "do not compare: latents_hash is")
    refused(tmp_path / "when", "no date in common")
    refused(tmp_path / "pixels", "they have other pixels")
    refused(grown.newer, "no date in common on 2019", date="2019")
    refused(grown.newer, "leave index=, sensor=", index="ndvi")
    refused(Path("2018-03-15"), "a date and a run")
    assert not (tmp_path / "out").exists()


def test_both_runs_keep_the_snapshots_that_were_compared(moved: Path, grown: Grown) -> None:
    for store in (grown.older, grown.newer):
        kept = [name for state in history(Store.of(store)) for name in state.kept_for]
        assert any(name.startswith("moved-") for name in kept)


def test_it_is_shown_by_date(moved: Path, tmp_path: Path) -> None:
    tl.show(moved, tmp_path / "both.png")
    tl.show(moved, tmp_path / "one.png", date="2018-03-15", variable="degrees")
