"""A fleet: the tiles of a large region, and all that is done with them, tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.tiles import AT_ONCE, Tile, read_tiles
from terralatent.pipeline.progress import ProgressChoice, choose_progress

if TYPE_CHECKING:  # a status is to take no longer than it must
    from distributed import Client

    from terralatent.catalogs.moments import Moment
    from terralatent.catalogs.scenes.aoi import Region
    from terralatent.catalogs.sources.sources import Source
    from terralatent.pipeline.cluster.client import Workers
    from terralatent.pipeline.cube.bands import BandRequest
    from terralatent.pipeline.cube.masking import MaskingRequest
    from terralatent.pipeline.dates import When
    from terralatent.pipeline.fleet.run import FleetReport, FleetVerb
    from terralatent.pipeline.fleet.status import FleetStatus

__all__ = ["Fleet"]


@dataclass(frozen=True, repr=False)
class Fleet:
    """The tiles of a region, each with a cube and results of its own in a folder of its name.

    Each method runs over all tiles on one cluster, several in flight. The same call again does what
    is not done. A tile that fails is named in the report, and passed over.

    Examples:
        >>> import terralatent as tl
        >>> fleet = tl.Fleet.plan("region.geojson", "utm-50km", "fleet.parquet")
        >>> fleet
        Fleet of 1 tile in EPSG:32631: fleet.parquet
        >>> fleet.tiles[0].name, fleet.tiles[0].shape
        ('31N-0500-5600', (5000, 5000))
        >>> small = tl.Fleet.plan("region.geojson", "region.geojson", "small.parquet")
        >>> small.build("scenes", "2018-05", "2018-05", sensors=["sentinel-1-asc"])
        FleetReport: 1 of 1 tiles in ... s
        >>> small.status()
        fleet small.parquet, 1 tiles
          cube  1 done
    """

    path: Path
    """Of its table, GeoParquet."""

    tiles: tuple[Tile, ...]
    """In the order in which they are worked on."""

    def __repr__(self) -> str:
        zones = sorted({tile.crs for tile in self.tiles})
        some = ", ".join(zones[:3]) + (f" and {len(zones) - 3} more" if len(zones) > 3 else "")
        noun = "tile" if len(self.tiles) == 1 else "tiles"
        return f"Fleet of {len(self.tiles):,} {noun} in {some}: {self.path}"

    @classmethod
    def open(cls, path: str | Path) -> Fleet:
        """Read the table of a fleet that was planned.

        Raises:
            InputError: If there is none.
        """
        return cls(Path(path), read_tiles(Path(path)))

    @classmethod
    def plan(
        cls,
        region: Region,
        grid: str | Path,
        out: str | Path,
        *,
        folder: str | Path | None = None,
        column: str | None = None,
        clip: bool = False,
        resolution: float = 10.0,
        start: str | None = None,
        end: str | None = None,
        sensors: Sequence[str] = (),
    ) -> Fleet:
        """Part a region into tiles and keep them at ``out``. Reads no pixels.

        Args:
            region: As for :func:`terralatent.search_scenes`.
            grid: ``mgrs``: squares of 100 km, called as Sentinel-2's tiles are; ``utm-50km``:
                squares of 50 km; or a vector file, each of whose polygons is a tile.
            out: A GeoParquet file. The same plan again changes nothing.
            folder: Where results go, a path or URL; by default beside ``out``, under its name.
            column: Of a file: what tiles are called; ``tile``, ``id`` or ``name`` by default.
            clip: Whether a tile is only what of it lies in the region. By default it is whole, and
                the same whatever the region.
            resolution: Pixel size in metres.
            start: First day of the scenes, where the plan is to say it.
            end: Last day.
            sensors: Of the scenes.

        Raises:
            InputError: If an argument cannot be used, no tile touches the region, or ``out`` holds
                another plan.
        """
        from terralatent.pipeline.fleet.plan import keep_plan, plan_path, plan_tiles

        path = plan_path(out)
        below = path.with_suffix("") if folder is None else folder
        tiles = plan_tiles(
            region, grid, below, column=column, clip=clip, resolution=resolution, start=start,
            end=end, sensors=sensors,
        )  # fmt: skip
        return cls(path, keep_plan(tiles, path))

    def build(
        self,
        source: str | Path | Source | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        scenes: str | Path | None = None,
        sensors: Sequence[str] | None = None,
        offsets: Mapping[str, float] | None = None,
        described: Sequence[str | Path] = (),
        mask: str | None = None,
        block: int = 256,
        bands: BandRequest = None,
        requests: int = 64,
        strict_placement: bool = False,
        at_once: int = AT_ONCE,
        client: Client | str | None = None,
        workers: int | None = None,
        memory: str = "4GB",
        progress: ProgressChoice = None,
    ) -> FleetReport:
        """Build the cube of each tile, go on with it, or let it grow. Computes.

        Args:
            source: Where each tile searches its own scenes.
            start: First day; by default that of the plan.
            end: Last day.
            scenes: Instead, a file of one search for all tiles.
            sensors: Those to read; by default those of the plan, or all.
            offsets: As for :func:`terralatent.search_scenes`.
            described: As there.
            mask: As there.
            block: As for :func:`terralatent.build_cube`, as what follows.
            bands: As there.
            requests: As there.
            strict_placement: As there.
            at_once: Tiles in flight.
            client: As there; shared by all tiles.
            workers: As there.
            memory: As there.
            progress: Advanced by each tile.

        Raises:
            InputError: If something is wrong for all tiles; nothing is begun then.
        """
        from terralatent.pipeline.fleet.build import build_verb, scenes_in_file, searched

        how: dict[str, Any] = {
            "sensors": sensors, "offsets": offsets, "described": described, "mask": mask,
        }  # fmt: skip
        if scenes is not None:
            if start is not None or end is not None:
                raise InputError("A file of scenes has its own period; leave start= and end= out.")
            found = scenes_in_file(scenes, source=source, **how)
        elif source is None:
            raise InputError("Give a source=, or a file of scenes=.")
        else:
            dated = all(tile.start and tile.end for tile in self.tiles)
            if not dated and (start is None or end is None):
                raise InputError("The plan does not say from when to when; give start= and end=.")
            found = searched(source, _text(start), _text(end), **how)
        verb = build_verb(
            self.tiles, found, block=block, bands=bands, requests=requests,
            strict_placement=strict_placement, memory=memory, workers=workers,
        )  # fmt: skip
        return self._run(verb, _workers(client, workers, memory), at_once, progress)

    def embed(
        self,
        model: str | None = None,
        *,
        dates: When = "monthly",
        precision: str = "packed",
        encoder: str = "float32",
        device: str = "auto",
        masking: MaskingRequest = None,
        overviews: bool = True,
        at_once: int = AT_ONCE,
        client: Client | str | None = None,
        workers: int | None = None,
        memory: str = "4GB",
        progress: ProgressChoice = None,
    ) -> FleetReport:
        """Infer the latents of each tile's cube, see :func:`terralatent.embed`. Computes.

        Args:
            model: Of all tiles; by default that of results that are begun, or the one that comes
                with the package. What follows is as for :func:`terralatent.embed`.
            dates: As there.
            precision: As there.
            encoder: As there.
            device: As there.
            masking: As there.
            overviews: As there.
            at_once: Tiles in flight, on workers that all of them share.
            client: As there.
            workers: As there.
            memory: As there.
            progress: Advanced by each tile.

        Raises:
            InputError: If something is wrong for all tiles; nothing is begun then.
            CheckpointError: If the model cannot be read.
        """
        from terralatent.pipeline.fleet.mapped import embed_verb, sized

        verb = embed_verb(
            self.tiles, model, dates=dates, precision=precision, encoder=encoder, device=device,
            masking=masking, overviews=overviews, memory=memory,
        )  # fmt: skip
        who = sized(_workers(client, workers, memory), device)
        return self._run(verb, who, at_once, progress)

    def annual(
        self,
        model: str | None = None,
        *,
        window: str | Sequence[str] | None = None,
        every: str | None = None,
        components: int = 64,
        precision: str = "int8",
        encoder: str = "float32",
        device: str = "auto",
        masking: MaskingRequest = None,
        overviews: bool = True,
        at_once: int = AT_ONCE,
        client: Client | str | None = None,
        workers: int | None = None,
        memory: str = "4GB",
        progress: ProgressChoice = None,
    ) -> FleetReport:
        """Make the annual vectors of each tile, see :func:`terralatent.annual`. Computes.

        Arguments and errors are those of that function and of :meth:`embed`.
        """
        from terralatent.pipeline.fleet.mapped import annual_verb, sized

        verb = annual_verb(
            self.tiles, model, window=window, every=every, components=components,
            precision=precision, encoder=encoder, device=device, masking=masking,
            overviews=overviews, memory=memory,
        )  # fmt: skip
        who = sized(_workers(client, workers, memory), device)
        return self._run(verb, who, at_once, progress)

    def classify(
        self,
        labels: Any,
        column: str,
        *,
        latents: str = "latents",
        name: str = "landcover",
        classifier: Any = "lda",
        with_std: bool = False,
        group: str | None = None,
        square: float | None = None,
        ignore: Sequence[str] = (),
        colours: Mapping[str, str] | None = None,
        seed: int = 0,
        overviews: bool = True,
        at_once: int = AT_ONCE,
        client: Client | str | None = None,
        workers: int | None = None,
        memory: str = "4GB",
        progress: ProgressChoice = None,
    ) -> Any:
        """Map classes over all tiles by one classifier, fitted once to the labels of all. Computes.

        The labelled pixels are kept beside the fleet, so that tiles which come later are mapped by
        the same classifier.

        Args:
            labels: As for :func:`terralatent.classify`, over all tiles.
            column: As there.
            latents: What of each tile is classified: ``latents`` or ``annual``.
            name: Of the maps, each in its tile's folder.
            classifier: As there, as all that follows.
            with_std: As there.
            group: As there.
            square: As there.
            ignore: As there.
            colours: As there.
            seed: As there.
            overviews: As there.
            at_once: Tiles in flight.
            client: As there; shared by all tiles.
            workers: As there.
            memory: As there.
            progress: Advanced by each tile.

        Returns:
            Scores, areas of all tiles that are done, and the report of the tiles.

        Raises:
            InputError: If something is wrong for all tiles, or labelled pixels of something else
                are kept under this ``name``.
        """
        from terralatent.pipeline.fleet.landcover import classify_tiles

        shown = choose_progress(progress)
        who = _workers(client, workers, memory)
        run = partial(self._run, who=who, at_once=at_once, progress=shown)
        return classify_tiles(
            self.tiles, self.path.with_suffix(""), labels, column, latents=latents, name=name,
            classifier=classifier, with_std=with_std, group=group, square=square, ignore=ignore,
            colours=colours, seed=seed, overviews=overviews, memory=memory, run=run,
            progress=shown,
        )  # fmt: skip

    def status(self) -> FleetStatus:
        """See how all tiles stand. Reads no pixels, and changes nothing."""
        from terralatent.pipeline.fleet.status import fleet_status

        return fleet_status(self.path, self.tiles)

    def publish(
        self,
        out: str | Path,
        *,
        kinds: Sequence[str] = (),
        licence: str | None = None,
        providers: Sequence[str] = (),
        title: str | None = None,
        description: str | None = None,
        keywords: Sequence[str] = (),
        name: str | None = None,
        model: str | None = None,
        copy: str | None = None,
        url: str | None = None,
        progress: ProgressChoice = None,
    ) -> FleetReport:
        """Publish what tiles have as STAC, below one root catalogue. Reads no pixels but to copy.

        Args:
            out: Folder of the root catalogue; each publication lies below it, as ``TILE/KIND``.
            kinds: Of stores, such as ``annual``; all results that there are by default.
            licence: As for :func:`terralatent.publish`, as what follows.
            providers: As there.
            title: Of the root catalogue.
            description: Of it.
            keywords: As there.
            name: Id of the root catalogue; that of the fleet's file by default.
            model: As there.
            copy: As there.
            url: Where the root catalogue will be served.
            progress: Advanced by each tile.

        Raises:
            InputError: If no tile has anything to publish, or something else is at ``out``.
        """
        from terralatent.pipeline.fleet.catalogue import publish_tiles

        return publish_tiles(
            self.tiles, out, name=name or self.path.stem, kinds=kinds, licence=licence,
            providers=providers, title=title, description=description, keywords=keywords,
            model=model, copy=copy, url=url, progress=choose_progress(progress),
        )  # fmt: skip

    def _run(
        self, verb: FleetVerb, who: Workers, at_once: int, progress: ProgressChoice
    ) -> FleetReport:
        from terralatent.pipeline.fleet.run import run_fleet

        shown = choose_progress(progress)
        return run_fleet(self.tiles, verb, who, at_once=at_once, progress=shown)


def _workers(client: Client | str | None, count: int | None, memory: str) -> Workers:
    from terralatent.pipeline.cluster.client import Workers

    return Workers(client, count, memory)


def _text(moment: Moment | None) -> str | None:
    return None if moment is None else str(moment)
