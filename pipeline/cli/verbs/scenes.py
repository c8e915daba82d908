"""Verbs of scenes: where there are some, and what of them a cube is built of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.fleets import FleetChoice
from terralatent.pipeline.cli.terminal import terminal
from terralatent.pipeline.progress import counting

__all__ = ["build", "search", "serve", "simulate", "sources"]


def sources(described: opt.Tables = None, json: opt.Json = False) -> None:
    """List the sources of scenes: what they have, what each needs, and whether that is there."""
    from terralatent.pipeline.cli.pages.sources import source_list, source_page

    listing = source_list(described or ())
    terminal.show(listing if json else source_page(listing))


@groups.grouped
def search(
    source: Annotated[str, typer.Option(help="A source's name, a URL or a folder.", metavar="S")],
    region: opt.Region,
    start: Annotated[str, typer.Option(help="First day (or month): 2018-01-01.", metavar="D")],
    end: Annotated[str, typer.Option(help="Last day (or month), included.", metavar="D")],
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


def serve(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of STAC items.")],
    port: Annotated[int, typer.Option(min=0, max=65535)] = 7822,
) -> None:
    """Serve a folder of STAC items as a STAC API on this machine, until Ctrl-C."""
    from terralatent.catalogs.documents.serve import serve

    serve(folder, port, ready=lambda url: terminal.say(f"STAC API at {url} (Ctrl-C ends it)"))


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


@groups.grouped
def build(
    region: opt.RegionOrNone = None,
    out: Annotated[
        str | None, typer.Option(metavar="STORE", help="Where the cube goes.", show_default=False)
    ] = None,
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
    tiles: FleetChoice,
) -> None:
    """Read the scenes into a cube that keeps each sensor on its own dates."""
    if not dry_run:
        cluster.begin("terralatent.pipeline.ingest.build")
    from terralatent.pipeline.cli.pages.plan import plan_page
    from terralatent.pipeline.cli.scenes import choose_scenes
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.ingest.plan import plan_build

    if json and not dry_run:
        raise InputError("--json is for --dry-run: for the progress of a build see --log-json.")
    fleet = tiles.open("build", {"--region": region, "--out": out})
    if fleet is not None:
        if dry_run:
            raise InputError("--dry-run is for one region; leave --fleet out.")
        made = fleet.build(
            source,
            start,
            end,
            scenes=scenes,
            **choice.keywords(),
            **grid.of_planned(),
            requests=requests,
            strict_placement=strict_placement,
            at_once=tiles.at_once,
            **cluster.keywords(),
            progress=terminal.bar(),
        )
        terminal.finish(made, str(fleet.path))
        return
    assert region is not None
    assert out is not None
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
