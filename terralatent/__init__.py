"""Latent maps of the Earth, with their uncertainty, from every Sentinel acquisition there is.

``import terralatent as tl`` has everything public; a name is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

__all__ = [
    "SENSORS",
    "Access",
    "CheckpointError",
    "Features",
    "Fleet",
    "InputError",
    "Masking",
    "Model",
    "PixelSeries",
    "Scenes",
    "Sensor",
    "Series",
    "Source",
    "Supervision",
    "Until",
    "__version__",
    "annual",
    "as_sensor",
    "build_cube",
    "calibrate_model",
    "changes",
    "classify",
    "decode",
    "embed",
    "export",
    "extract",
    "features",
    "field_means",
    "load_model",
    "make_overviews",
    "open_annual",
    "open_bands",
    "open_changes",
    "open_cube",
    "open_landcover",
    "open_latents",
    "predict",
    "pretrained",
    "publish",
    "regress",
    "samples",
    "search_scenes",
    "show",
    "simulate",
    "status",
    "train",
]

if TYPE_CHECKING:
    from terralatent.catalogs.documents.access import Access
    from terralatent.catalogs.errors import InputError
    from terralatent.catalogs.scenes.scenes import Scenes
    from terralatent.catalogs.scenes.search import search_scenes
    from terralatent.catalogs.simulation.simulate import simulate
    from terralatent.catalogs.sources.sensors import SENSORS, Sensor
    from terralatent.catalogs.sources.sources import Source
    from terralatent.models.checkpoint import CheckpointError
    from terralatent.pipeline.accessor.prediction import predict
    from terralatent.pipeline.accessor.samples import samples
    from terralatent.pipeline.changes.changes import changes
    from terralatent.pipeline.changes.opened import open_changes
    from terralatent.pipeline.cube.as_sensor import as_sensor
    from terralatent.pipeline.cube.masking import Masking
    from terralatent.pipeline.cube.opened import open_cube
    from terralatent.pipeline.cube.reading import Until
    from terralatent.pipeline.embeddings.annual import annual
    from terralatent.pipeline.embeddings.opened import open_annual
    from terralatent.pipeline.export.formats import export
    from terralatent.pipeline.fields.means import field_means
    from terralatent.pipeline.fleet.fleet import Fleet
    from terralatent.pipeline.info.status import status
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.landcover.classify import classify
    from terralatent.pipeline.landcover.regress import regress
    from terralatent.pipeline.mapping.decode import decode
    from terralatent.pipeline.mapping.embed import embed
    from terralatent.pipeline.mapping.opened import open_bands, open_landcover, open_latents
    from terralatent.pipeline.model.model import Model, load_model, pretrained
    from terralatent.pipeline.overviews.make import make_overviews
    from terralatent.pipeline.pictures.show import show
    from terralatent.pipeline.pixels.features import Features, features
    from terralatent.pipeline.publication.publish import publish
    from terralatent.pipeline.tables.extract import extract
    from terralatent.pipeline.tables.series import Series
    from terralatent.pipeline.training.adapting.calibrate import calibrate_model
    from terralatent.pipeline.training.labelled.request import Supervision
    from terralatent.pipeline.training.pixel_series import PixelSeries
    from terralatent.pipeline.training.train import train

    __version__: str
else:
    _HOMES = {
        "SENSORS": "catalogs.sources.sensors",
        "Access": "catalogs.documents.access",
        "CheckpointError": "models.checkpoint",
        "Features": "pipeline.pixels.features",
        "Fleet": "pipeline.fleet.fleet",
        "InputError": "catalogs.errors",
        "Masking": "pipeline.cube.masking",
        "Model": "pipeline.model.model",
        "PixelSeries": "pipeline.training.pixel_series",
        "Scenes": "catalogs.scenes.scenes",
        "Sensor": "catalogs.sources.sensors",
        "Series": "pipeline.tables.series",
        "Source": "catalogs.sources.sources",
        "Supervision": "pipeline.training.labelled.request",
        "Until": "pipeline.cube.reading",
        "annual": "pipeline.embeddings.annual",
        "as_sensor": "pipeline.cube.as_sensor",
        "build_cube": "pipeline.ingest.build",
        "calibrate_model": "pipeline.training.adapting.calibrate",
        "changes": "pipeline.changes.changes",
        "classify": "pipeline.landcover.classify",
        "decode": "pipeline.mapping.decode",
        "embed": "pipeline.mapping.embed",
        "export": "pipeline.export.formats",
        "extract": "pipeline.tables.extract",
        "features": "pipeline.pixels.features",
        "field_means": "pipeline.fields.means",
        "load_model": "pipeline.model.model",
        "make_overviews": "pipeline.overviews.make",
        "open_annual": "pipeline.embeddings.opened",
        "open_bands": "pipeline.mapping.opened",
        "open_changes": "pipeline.changes.opened",
        "open_cube": "pipeline.cube.opened",
        "open_landcover": "pipeline.mapping.opened",
        "open_latents": "pipeline.mapping.opened",
        "predict": "pipeline.accessor.prediction",
        "pretrained": "pipeline.model.model",
        "publish": "pipeline.publication.publish",
        "regress": "pipeline.landcover.regress",
        "samples": "pipeline.accessor.samples",
        "search_scenes": "catalogs.scenes.search",
        "show": "pipeline.pictures.show",
        "simulate": "catalogs.simulation.simulate",
        "status": "pipeline.info.status",
        "train": "pipeline.training.train",
    }

    def __getattr__(name):
        """Import ``name`` from its module, once (PEP 562)."""
        if name == "__version__":
            from importlib.metadata import version

            value = version(__name__)
        elif name in _HOMES:
            import sys
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
            if "xarray" in sys.modules:  # what it gives has `.terralatent`
                import_module(f"{__name__}.pipeline.accessor.tree")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        """Offer the names that are not imported yet beside those that are."""
        return sorted({*globals(), *__all__})
