"""A cube and a model, or latents of two runs -> a map of what moved beyond chance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment
from terralatent.pipeline.changes.between import Dates, Runs, read_between
from terralatent.pipeline.changes.dates import DateChanges
from terralatent.pipeline.changes.index import find_index
from terralatent.pipeline.changes.marks import mark
from terralatent.pipeline.changes.pair import LatentsPair, PairOrigin, find_pair
from terralatent.pipeline.changes.report import ChangeReport
from terralatent.pipeline.changes.runs import RunChanges, map_runs
from terralatent.pipeline.changes.source import Source, find_source
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest, leaves_open
from terralatent.pipeline.mapping.memory import MemoryLimit
from terralatent.pipeline.mapping.results.fill import fill, fill_blocks, model_of
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.overviews.make import make_overviews, open_tasks
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store

__all__ = ["RATE", "changes"]

log = logging.getLogger(__name__)

RATE = 0.05
"""Of false discoveries."""

TITLE = "changes"


def changes(
    store: str | Path,
    model: ModelSource = None,
    *,
    between: Sequence[Moment | str | Path],
    out: str | Path,
    index: str | None = None,
    sensor: str | None = None,
    rate: float = RATE,
    date: Moment | None = None,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ChangeReport:
    """Map where latents, or a decoded index, moved beyond chance, and keep it; computes.

    **Between two dates** the latents are inferred again, at both together. What they differ by has
    a posterior, with variances V_A + V_B - 2 C and independent over latents; the distance of *no
    difference* from its middle, in its own standard deviations, is a Mahalanobis distance, whose
    square is compared with chi-squared of as many degrees as there are latents. Its tail is what is
    called p here: the credibility of all differences that are even less plausible than none. Where
    the truth is that nothing moved, such p-values are no smaller than chance makes them (means are
    drawn towards no difference), so that they may be used as p-values.

    **Between two runs** over data that grew, latents of one date are compared as they are stored.
    What came in since may move their means by N(0, V_old - V_new), and no more, where it agrees
    with all before. Degrees are the latents whose variance became smaller.

    **An index** has one degree: its difference over the standard deviation of that, to first order
    in the bands, whose errors at both dates and in all bands come from the joint posterior. It is
    of the surface; noise of an observation has no part in it.

    All pixels of a date together are then marked by the procedure of Benjamini and Hochberg, so
    that of those marked as changed a share of ``rate`` is expected not to be. Intervals of 90 % for
    each of 16 latents would mark 81 % of all pixels by chance. The same call again computes what is
    not done; with another ``rate`` it marks anew and computes nothing.

    Args:
        store: Path or URL of latents, which note their cube and model; or of a cube.
        model: Of a cube: folder of a model, or the name of one that comes with the package. Of
            latents, where their model lies by now.
        between: A and B: two dates (a month is its 15th); or an older and a newer run, each a
            snapshot of the latents, by its id, the first characters of it or a tag, or the path or
            URL of latents. What can be a date is one.
        out: Path or URL of the map, see
            :func:`~terralatent.pipeline.changes.opened.open_changes`.
        index: One of ``ndvi``, ``ndwi``, ``ndre`` and ``evi`` instead of the latents; between dates
            alone.
        sensor: Whose bands the index is made of; the first of the model's that has them by default.
        rate: Of false discoveries among those that are marked.
        date: Of two runs, a day or month whose dates alone are compared; all by default.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors of a cube are masked; as the model was trained, where it leaves
            that open.
        at: An earlier snapshot of a cube.
        overviews: Whether the map has :mod:`~terralatent.pipeline.overviews`, where it is large.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; processes on this machine by
            default.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the store, what is compared, the index or ``out`` cannot be used, or two runs
            do not compare.
        CheckpointError: If the model cannot be read or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> tl.changes("latents", between=("2017-09-15", "2018-03-15"), out="moved")
        ChangeReport: 4 of 4 blocks, 306 pixels, ... of 306 pixels changed ...
        >>> tl.changes("latents", between=("2017-09-15", "2018-03-15"), out="moved", rate=0.01)
        ChangeReport: 0 of 4 blocks (the others were done), 0 pixels: ... pixels changed ...
    """
    progress = choose_progress(progress)
    if not 0.0 < rate < 1.0:
        raise InputError(f"A false discovery rate is between 0 and 1, not {rate}; 0.05 is 5 %.")
    source, result, who = Store.of(store), Store.of(out), Workers(client, workers, memory)
    source.group()  # raises, and names what is there instead
    wanted = read_between(source, between)
    if isinstance(wanted, Dates):
        if date is not None:
            raise InputError("date= chooses of the dates of two runs; leave it out between dates.")
        if model is None and source.about()["kind"] == "cube":
            model = model_of(result)
        found = find_source(source, model, masking=masking, at=at)
        product = _plan_dates(found, wanted, index, sensor, device)
        filled = fill(product, result, who, title=TITLE, overviews=False, progress=progress)
    else:
        if (index, sensor, model, at) != (None,) * 4 or not leaves_open(masking):
            raise InputError(
                "Two runs are compared by the latents that they kept; leave index=, sensor=, "
                "masking=, at= and the model out."
            )
        filled = _fill_runs(find_pair(wanted, date), result, who, progress)
    marked = mark(result, rate)
    if marked and not any(own.tests for own in marked):
        log.warning("nothing can be said of any pixel%s", _hint(wanted))
    if marked and overviews and open_tasks(result):
        made = make_overviews(
            result, client=client, workers=workers, memory=memory, progress=progress
        )
        filled = replace(filled, losses=(*filled.losses, *made.losses))
    return ChangeReport(filled, marked, rate)


def _plan_dates(
    source: Source, dates: Dates, index: str | None, sensor: str | None, device: str
) -> DateChanges:
    """What is computed between two dates. Reads no pixels."""
    if index is None and sensor is not None:
        raise InputError("sensor= is of an index; latents are of all sensors. Leave it out.")
    both = np.unique(np.array(dates.micros)).astype("datetime64[us]")
    job = source.job(list(both), device)
    own = None if index is None else find_index(job.config(), index, sensor)
    return DateChanges(job, dates.micros, own)


def _fill_runs(pair: LatentsPair, out: Store, workers: Workers, progress: Progress) -> ResultReport:
    """Compare two runs block by block. Computes."""
    product, limit = RunChanges(pair), MemoryLimit(workers.memory_bytes())
    layout = pair.layout(product.arrays.layout(pair.grid, pair.block, len(pair.dates)))
    return fill_blocks(
        layout, PairOrigin(pair), partial(map_runs, product, limit), out, workers,
        title=TITLE, overviews=False, progress=progress,
    )  # fmt: skip


def _hint(wanted: Dates | Runs) -> str:
    if isinstance(wanted, Dates):
        return ": none was ever seen clearly"
    return (
        f": no latent is better known in {wanted.newer.store} than in {wanted.older.store}. Is the "
        "older run the first one of between=?"
    )
