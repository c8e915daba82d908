"""Binds catalogues and models: scenes to cube, cube to model, cube and model to maps.

Names are imported when first asked for, so that the command line starts fast.
"""

from typing import TYPE_CHECKING

__all__ = [
    "Masking",
    "build_cube",
    "decode",
    "embed",
    "open_cube",
    "open_latents",
    "status",
    "train",
]

if TYPE_CHECKING:
    from terralatent.pipeline.cube import open_cube
    from terralatent.pipeline.decode import decode
    from terralatent.pipeline.embed import embed, open_latents
    from terralatent.pipeline.ingest import build_cube
    from terralatent.pipeline.masking import Masking
    from terralatent.pipeline.status import status
    from terralatent.pipeline.train import train
else:
    import sys
    from types import ModuleType

    _HOMES = {
        "Masking": "masking",
        "build_cube": "ingest",
        "decode": "decode",
        "embed": "embed",
        "open_cube": "cube",
        "open_latents": "embed",
        "status": "status",
        "train": "train",
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

    class _Package(ModuleType):
        """Gives ``pipeline.train`` one meaning, the function, whatever was imported before.

        An import of the module ``terralatent.pipeline.train`` would bind the same name to the
        module. ``from terralatent.pipeline.train import ...`` finds the module all the same.
        """

        def __setattr__(self, name, value):
            if _HOMES.get(name) == name and isinstance(value, ModuleType):
                value = getattr(value, name)
            super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package
