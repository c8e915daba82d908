"""Means of fields, with a standard deviation that knows what their pixels share.

``field_means`` is imported when first asked for: torch comes with it.
"""

from typing import TYPE_CHECKING

__all__ = ["field_means"]

if TYPE_CHECKING:
    from terralatent.pipeline.fields.means import field_means
else:

    def __getattr__(name):
        """Import ``field_means`` from its module, once (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from terralatent.pipeline.fields.means import field_means

        globals()[name] = field_means
        return field_means
