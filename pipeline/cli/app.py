"""``terralatent VERB``: one function for each verb, which reads its options and makes one call.

What a verb needs is imported inside it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.extraction import add_extract
from terralatent.pipeline.cli.terminal import FINISHED, INTERRUPTED, LOSSES, Terminal
from terralatent.pipeline.command import PROGRAM, command_line
from terralatent.pipeline.progress import counting

__all__ = ["app", "main"]

app = typer.Typer(
    name=PROGRAM,
    cls=opt.Verbs,
    help="Latent maps of the Earth, with their uncertainty, from every Sentinel acquisition.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
terminal = Terminal()

KEEPING = ("build", "train", "calibrate", "embed", "decode", "demo")
"""Verbs that keep what is done when they are interrupted; the same command goes on with it."""


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: opt.Debug = False,
    quiet: opt.Quiet = False,
    log_json: opt.LogJson = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where everything goes.")] = "demo",
    size: Annotated[int, typer.Option(help="Pixels of 10 m along the region.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the simulated region and the training.")] = 0,
) -> None:
    """Show the main job from nothing: a simulated region, the commands to its maps, and scores."""
    from terralatent.pipeline.cli.demo import StoppedError, demo

    try:
        report = demo(
            out,
            size=size,
            seed=seed,
            announce=terminal.announce,
            options=opt.GlobalOptions.take(sys.argv[1:])[0].given(),
        )
    except StoppedError as stopped:
        raise typer.Exit(stopped.code) from stopped
    terminal.show(report.page())


@app.command()
def simulate(
    out: Annotated[str, typer.Option(metavar="DIR", help="A folder that is not there yet.")],
    size: Annotated[int, typer.Option(help="Pixels of 10 m along y and x.")] = 256,
    years: Annotated[int, typer.Option(help="Calendar years from 2018 on.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    climate: opt.Climate = "temperate",
) -> None:
    """Simulate a region with known truth: scenes as the satellites take them, and the truth."""
    from terralatent.catalogs.simulation.simulate import simulate

    bar = terminal.bar()
    counted = counting(bar, "simulate")
    simulate(out, size=size, years=years, seed=seed, climate=climate, progress=counted)
    bar.close()
    terminal.say(f"-> {out}")


@app.command()
def serve(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of STAC items.")],
    port: Annotated[int, typer.Option(min=0, max=65535)] = 7822,
) -> None:
    """Serve a folder of STAC items as a STAC API on this machine, until Ctrl-C."""
    from terralatent.catalogs.documents.serve import serve

    serve(folder, port, ready=lambda url: terminal.say(f"STAC API at {url} (Ctrl-C ends it)"))


@app.command()
def sources(described: opt.Tables = None, json: opt.Json = False) -> None:
    """List the sources of scenes: what they have, what each needs, and whether that is there."""
    from terralatent.pipeline.cli.pages.sources import source_list, source_page

    listing = source_list(described or ())
    terminal.show(listing if json else source_page(listing))


@app.command()
@groups.grouped
def search(
    source: Annotated[str, typer.Option(help="A source's name, a URL or a folder.", metavar="S")],
    region: opt.Region,
    start: Annotated[str, typer.Option(help="First day, such as 2018-01-01.", metavar="D")],
    end: Annotated[str, typer.Option(help="Last day, included.", metavar="D")],
    out: Annotated[str, typer.Option(metavar="scenes.parquet")],
    choice: groups.SceneChoice,
) -> None:
    """Find the scenes of a region and period; keep them as stac-geoparquet."""
    from terralatent.catalogs.items.items_file import require_scenes_file
    from terralatent.catalogs.scenes.search import search_scenes

    require_scenes_file(Path(out))
    found = search_scenes(source, region, start, end, **choice.keywords())
    found.to_parquet(out)
    terminal.say_all(found.left_out())
    terminal.say(f"-> {out}")


@app.command()
@groups.grouped
def build(
    region: opt.Region,
    out: Annotated[str, typer.Option(metavar="STORE", help="Where the cube goes.")],
    *,
    source: opt.Source = None,
    start: opt.Start = None,
    end: opt.End = None,
    scenes: opt.ScenesFile = None,
    choice: groups.SceneChoice,
    grid: groups.Grid,
    requests: opt.Requests = 64,
    strict_placement: opt.StrictPlacement = False,
    cluster: groups.Cluster,
    dry_run: opt.DryRun = False,
    json: opt.Json = False,
) -> None:
    """Read the scenes into a cube that keeps each sensor on its own dates."""
    from terralatent.pipeline.cli.pages.plan import plan_page
    from terralatent.pipeline.cli.scenes import choose_scenes
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.ingest.plan import plan_build

    if json and not dry_run:
        raise InputError("--json is for --dry-run: for the progress of a build see --log-json.")
    chosen = choose_scenes(
        region,
        kept=scenes,
        source=source,
        start=start,
        end=end,
        say=terminal.say,
        **choice.keywords(),
    )
    how = {**grid.keywords(), **cluster.keywords()}
    if dry_run:
        plan = plan_build(chosen, region, out, **how)
        terminal.say_all(chosen.left_out())
        terminal.show(plan.to_json() if json else plan_page(plan))
        return
    how |= {"requests": requests, "strict_placement": strict_placement}
    report = build_cube(chosen, region, out, **how, progress=terminal.bar())
    terminal.say_all(chosen.left_out())
    terminal.finish(report, out)


@app.command()
@groups.grouped
def train(
    cubes: opt.Sources,
    out: Annotated[str, typer.Option(metavar="MODEL", help="The folder of the model.")],
    *,
    extend: opt.Extend = None,
    pretrained: opt.Pretrained = None,
    sampling: groups.Sampling,
    choices: groups.ModelChoices,
    steps: Annotated[int | None, typer.Option(min=0, help="At most so many steps.")] = None,
    seed: int = 0,
    device: opt.Device = "auto",
    sensor: opt.Sensors = None,
    clear: groups.ClearSky,
) -> None:
    """Train a model on pixel series of one or more cubes, or go on from a trained one."""
    from terralatent.pipeline.training.train import train

    given: dict[str, Any] = {} if steps is None else {"steps": steps}
    report = train(
        cubes,
        out,
        extend=extend,
        pretrained=pretrained,
        seed=seed,
        device=device,
        sensors=sensor or None,
        masking=clear.masking(),
        progress=terminal.bar(),
        **vars(sampling),
        **given,
        **choices.keywords(),
    )
    terminal.finish(report, out)


@app.command()
@groups.grouped
def calibrate(
    cube: opt.Cube,
    model: opt.Model = None,
    *,
    out: Annotated[str, typer.Option(metavar="MODEL", help="Where the calibrated model goes.")],
    seed: int = 0,
    clear: groups.ClearSky,
    at: opt.At = None,
) -> None:
    """Fit a model's intervals to a cube that it was not trained on; no mean is moved."""
    from terralatent.pipeline.training.calibrate import calibrate_model

    report = calibrate_model(cube, model, out, seed=seed, masking=clear.masking(), at=at)
    terminal.finish(report, out)


add_extract(app, terminal)


@app.command()
@groups.grouped
def embed(
    cube: opt.CubeOrTable,
    model: opt.Model = None,
    *,
    out: Annotated[
        str, typer.Option(metavar="LATENTS", help="Where they go: a store; of a table .parquet.")
    ],
    dates: opt.When = "monthly",
    precision: opt.Precision = "packed",
    encoder: opt.Encoder = "float32",
    table: groups.TableChoice,
    cluster: groups.Cluster,
    how: groups.Inference,
    clear: groups.ClearSky,
) -> None:
    """Infer each pixel's latent series, mean and standard deviation, at any dates."""
    from terralatent.pipeline.mapping.embed import embed

    model = how.choose_model(cube, model, out, clear.masking(), terminal.say)
    more = {"masking": clear.masking(), **how.keywords(), **cluster.keywords()}
    kept: dict[str, Any] = {"dates": dates, "precision": precision, "encoder": encoder}
    kept |= table.keywords()
    report = embed(cube, model, out, **kept, progress=terminal.bar(), **more)
    terminal.finish(report, out)


@app.command()
@groups.grouped
def decode(
    cube: opt.Cube,
    model: opt.Model = None,
    *,
    sensor: Annotated[str, typer.Option(help="A sensor of the model.")],
    dates: opt.When,
    out: Annotated[str, typer.Option(metavar="STORE", help="Where the bands go.")],
    cluster: groups.Cluster,
    how: groups.Inference,
    clear: groups.ClearSky,
) -> None:
    """Predict a sensor's bands at any dates: surface, uncertainty, and a new observation."""
    from terralatent.pipeline.mapping.decode import decode

    model = how.choose_model(cube, model, out, clear.masking(), terminal.say)
    more = {"masking": clear.masking(), **how.keywords(), **cluster.keywords()}
    report = decode(cube, model, sensor, dates, out, progress=terminal.bar(), **more)
    terminal.finish(report, out)


@app.command()
def show(
    store: opt.AnyStore,
    out: Annotated[str, typer.Option(metavar="picture.png")],
    sensor: opt.OneSensor = None,
    variable: opt.Variable = None,
    date: opt.Date = None,
    pixel: opt.Pixel = None,
    at: opt.At = None,
) -> None:
    """Draw a picture of a store, or of the series of one of its pixels."""
    from terralatent.pipeline.pictures.show import show

    show(store, out, sensor=sensor, variable=variable, date=date, pixel=pixel, at=at)
    terminal.say(f"-> {out}")


@app.command()
def export(
    store: opt.AnyStore,
    out: Annotated[str, typer.Option(metavar="FOLDER.zarr")],
    sensor: opt.OneSensor = None,
    variable: opt.Variable = None,
    date: opt.Date = None,
    at: opt.At = None,
) -> None:
    """Copy a store, or a part of it, as plain Zarr v3."""
    from terralatent.pipeline.export.zarr import export

    export(store, out, sensor=sensor, variable=variable, date=date, at=at)
    terminal.say(f"-> {out}")


@app.command()
def status(
    store: opt.StoreOrModel,
    json: opt.Json = False,
    history: Annotated[bool, typer.Option("--history", help="List its earlier states.")] = False,
    at: opt.At = None,
) -> None:
    """Show what a store or a model holds, what is missing, and how far a run on it is."""
    from terralatent.pipeline.cli.pages.status import history_page, status_page
    from terralatent.pipeline.info.status import status
    from terralatent.pipeline.store.history import history as history_of

    if history:
        states = history_of(store)
        terminal.show(
            {"snapshots": [s.to_json() for s in states]} if json else history_page(states)
        )
        return
    report = status(store, at=at)
    terminal.show(report.to_json() if json else status_page(report))


@app.command()
def check(
    store: opt.AnyStore,
    reopen: opt.Reopen = False,
    json: opt.Json = False,
    at: opt.At = None,
) -> None:
    """Read a store whole, and name what is damaged or missing."""
    from terralatent.pipeline.cli.pages.check import check_page
    from terralatent.pipeline.cube.reopening import reopen as reopen_chunks
    from terralatent.pipeline.store.integrity import check_store

    if reopen and at is not None:
        raise InputError("--reopen is for the newest state of a store; leave --at out.")
    found = check_store(store, at=at, progress=terminal.bar())
    opened = reopen_chunks(store, found.damaged) if reopen else None
    if json:
        terminal.show(found.to_json() | {"reopened": [str(damage) for damage in opened or ()]})
    else:
        terminal.show(check_page(found, opened))
    if found.damaged:
        raise typer.Exit(LOSSES)


@app.command()
def expire(
    store: opt.AnyStore,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Such as 30D or 12h.")],
    release: opt.Release = None,
) -> None:
    """Let go of old states of a store, and of what no state needs. The newest one stays."""
    from terralatent.pipeline.store.history import expire

    terminal.say(f"{expire(store, older_than, release=release or ())} -> {store}")


def main() -> None:
    """Run the command line: the one place where exceptions become a line and an exit code."""
    everywhere, arguments = opt.GlobalOptions.take(sys.argv[1:])
    terminal.settle(**vars(everywhere))
    terminal.listen()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # ends as Ctrl-C does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Threads of torch that wait for each other by spinning slow each other down 10 times and more
    # where the cores are shared; torch reads this when it is imported, inside a verb.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Python processes that are started from here run no file of the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    go_on = command_line(sys.argv[1:]) if arguments[:1] and arguments[0] in KEEPING else None
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False) or FINISHED
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        code = terminal.complain(error, go_on=go_on)
    sys.exit(code)
