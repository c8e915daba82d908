"""Binds catalogues and models: scenes to cube, cube to model, cube and model to maps.

Names are imported when first asked for, so that the command line starts fast.
"""

from typing import TYPE_CHECKING

__all__ = [
    "Features",
    "Masking",
    "Series",
    "Supervision",
    "annual",
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
    "open_cube",
    "open_landcover",
    "open_latents",
    "publish",
    "regress",
    "status",
    "train",
]

if TYPE_CHECKING:
    from terralatent.pipeline.cube.masking import Masking
    from terralatent.pipeline.cube.opened import open_cube
    from terralatent.pipeline.embeddings.annual import annual
    from terralatent.pipeline.embeddings.opened import open_annual
    from terralatent.pipeline.fields.means import field_means
    from terralatent.pipeline.info.status import status
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.landcover.classify import classify
    from terralatent.pipeline.landcover.maps import open_landcover
    from terralatent.pipeline.landcover.regress import regress
    from terralatent.pipeline.mapping.decode import decode
    from terralatent.pipeline.mapping.embed import embed
    from terralatent.pipeline.mapping.features import Features, features
    from terralatent.pipeline.mapping.opened import open_latents
    from terralatent.pipeline.overviews.make import make_overviews
    from terralatent.pipeline.publication.publish import publish
    from terralatent.pipeline.tables.extract import extract
    from terralatent.pipeline.tables.series import Series
    from terralatent.pipeline.training.adapting.calibrate import calibrate_model
    from terralatent.pipeline.training.labelled.request import Supervision
    from terralatent.pipeline.training.train import train
else:
    _HOMES = {
        "Features": "mapping.features",
        "Masking": "cube.masking",
        "Series": "tables.series",
        "Supervision": "training.labelled.request",
        "annual": "embeddings.annual",
        "build_cube": "ingest.build",
        "calibrate_model": "training.adapting.calibrate",
        "classify": "landcover.classify",
        "decode": "mapping.decode",
        "embed": "mapping.embed",
        "extract": "tables.extract",
        "features": "mapping.features",
        "field_means": "fields.means",
        "make_overviews": "overviews.make",
        "open_annual": "embeddings.opened",
        "open_cube": "cube.opened",
        "open_landcover": "landcover.maps",
        "open_latents": "mapping.opened",
        "publish": "publication.publish",
        "regress": "landcover.regress",
        "status": "info.status",
        "train": "training.train",
    }

    def __getattr__(name):
        """Import ``name`` from its module, once (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """Offer the names that are not imported yet beside those that are."""
        return sorted({*globals(), *__all__})
