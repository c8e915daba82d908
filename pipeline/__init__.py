"""Binds catalogues and models: scenes to cube, cube to model, cube and model to maps.

Names are imported when first asked for, so that the command line starts fast.
"""

from typing import TYPE_CHECKING

__all__ = [
    "Features",
    "Fleet",
    "Masking",
    "PixelSeries",
    "Series",
    "Supervision",
    "Until",
    "annual",
    "as_sensor",
    "build_cube",
    "calibrate_model",
    "classify",
    "decode",
    "embed",
    "extract",
    "features",
    "field_means",
    "make_overviews",
    "open_annual",
    "open_bands",
    "open_changes",
    "open_cube",
    "open_landcover",
    "open_latents",
    "predict",
    "publish",
    "regress",
    "samples",
    "status",
    "train",
]

if TYPE_CHECKING:
    from terralatent.pipeline.accessor.prediction import predict
    from terralatent.pipeline.accessor.samples import samples
    from terralatent.pipeline.changes.opened import open_changes
    from terralatent.pipeline.cube.as_sensor import as_sensor
    from terralatent.pipeline.cube.masking import Masking
    from terralatent.pipeline.cube.opened import open_cube
    from terralatent.pipeline.cube.reading import Until
    from terralatent.pipeline.embeddings.annual import annual
    from terralatent.pipeline.embeddings.opened import open_annual
    from terralatent.pipeline.fields.means import field_means
    from terralatent.pipeline.fleet.fleet import Fleet
    from terralatent.pipeline.info.status import status
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.landcover.classify import classify
    from terralatent.pipeline.landcover.regress import regress
    from terralatent.pipeline.mapping.decode import decode
    from terralatent.pipeline.mapping.embed import embed
    from terralatent.pipeline.mapping.opened import open_bands, open_landcover, open_latents
    from terralatent.pipeline.overviews.make import make_overviews
    from terralatent.pipeline.pixels.features import Features, features
    from terralatent.pipeline.publication.publish import publish
    from terralatent.pipeline.tables.extract import extract
    from terralatent.pipeline.tables.series import Series
    from terralatent.pipeline.training.adapting.calibrate import calibrate_model
    from terralatent.pipeline.training.labelled.request import Supervision
    from terralatent.pipeline.training.pixel_series import PixelSeries
    from terralatent.pipeline.training.train import train
else:
    _HOMES = {
        "Features": "pixels.features",
        "Fleet": "fleet.fleet",
        "Masking": "cube.masking",
        "PixelSeries": "training.pixel_series",
        "Series": "tables.series",
        "Supervision": "training.labelled.request",
        "Until": "cube.reading",
        "annual": "embeddings.annual",
        "as_sensor": "cube.as_sensor",
        "build_cube": "ingest.build",
        "calibrate_model": "training.adapting.calibrate",
        "classify": "landcover.classify",
        "decode": "mapping.decode",
        "embed": "mapping.embed",
        "extract": "tables.extract",
        "features": "pixels.features",
        "field_means": "fields.means",
        "make_overviews": "overviews.make",
        "open_annual": "embeddings.opened",
        "open_bands": "mapping.opened",
        "open_changes": "changes.opened",
        "open_cube": "cube.opened",
        "open_landcover": "mapping.opened",
        "open_latents": "mapping.opened",
        "predict": "accessor.prediction",
        "publish": "publication.publish",
        "regress": "landcover.regress",
        "samples": "accessor.samples",
        "status": "info.status",
        "train": "training.train",
    }

    def __getattr__(name):
        """Import ``name`` from its module, once (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import sys
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        if "xarray" in sys.modules:  # what it gives has `.terralatent`
            import_module(f"{__name__}.accessor.tree")
        globals()[name] = value
        return value

    def __dir__():
        """Offer the names that are not imported yet beside those that are."""
        return sorted({*globals(), *__all__})
