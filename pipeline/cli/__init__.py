"""The command line; ``terralatent`` calls :func:`main`."""

import signal
import sys

__all__ = ["main"]

_INTERRUPTED = 130
"""What shells make of an end by Ctrl-C."""


def main() -> None:
    """Run :func:`terralatent.pipeline.cli.app.main`, which is imported here.

    Until that is done there is nothing to keep and nothing to say: Ctrl-C ends the process at once,
    where Python would show in which import it was.
    """
    waited = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if waited:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from terralatent.pipeline.cli.app import main as run

    try:
        if waited:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
