"""The GP-VAE in pure torch: tensors in, tensors out. No xarray, no dask, no files but checkpoints.

Names are imported when first asked for, so that ``import terralatent.models`` costs nothing.
"""

from typing import TYPE_CHECKING

__all__ = ["GPVAE", "ModelConfig", "Observations", "pretrained"]

if TYPE_CHECKING:
    from terralatent.models.gpvae import GPVAE, ModelConfig
    from terralatent.models.observations import Observations
    from terralatent.models.shipped import pretrained
else:
    _HOMES = {
        "GPVAE": "gpvae",
        "ModelConfig": "gpvae",
        "Observations": "observations",
        "pretrained": "shipped",
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
