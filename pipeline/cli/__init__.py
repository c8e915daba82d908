"""The command line; ``terralatent`` calls :func:`main`."""

from terralatent.pipeline.cli.app import main

__all__ = ["main"]
