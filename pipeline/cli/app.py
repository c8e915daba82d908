"""The program: its verbs, and the one place where exceptions become a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import cast

import typer
from typer.core import TyperCommand

from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.arguments import options_of
from terralatent.pipeline.cli.terminal import FINISHED, INTERRUPTED, terminal
from terralatent.pipeline.cli.verbs import (
    changes,
    demo,
    extraction,
    fields,
    fleets,
    landcover,
    maps,
    models,
    publishing,
    scenes,
    stores,
)
from terralatent.pipeline.command import PROGRAM, command_line

__all__ = ["app", "main"]

app = typer.Typer(
    name=PROGRAM,
    cls=opt.Verbs,
    help="Latent maps of the Earth, with their uncertainty, from every Sentinel acquisition.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS = (
    demo.demo,
    maps.map_region,
    scenes.simulate,
    scenes.serve,
    scenes.sources,
    scenes.search,
    scenes.build,
    models.train,
    models.calibrate,
    extraction.extract,
    maps.embed,
    maps.decode,
    maps.annual,
    fields.fields,
    changes.changes,
    landcover.classify,
    landcover.regress,
    stores.overviews,
    stores.show,
    stores.view,
    stores.export,
    publishing.publish,
    stores.status,
    stores.check,
    stores.expire,
)
"""In the order of the help."""

KEEPING = (
    *("map", "build", "train", "calibrate", "embed", "decode", "annual", "fields"),
    *("changes", "classify", "regress", "overviews", "demo"),
)
"""Verbs that keep what is done when they are interrupted; the same command goes on with it."""


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: opt.Debug = False,
    quiet: opt.Quiet = False,
    log_json: opt.LogJson = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        verbs = cast("opt.Verbs", context.command).commands
        terminal.speak_of(options_of(cast("TyperCommand", verbs[context.invoked_subcommand])))


for verb in VERBS:
    app.command(verb.__name__.partition("_")[0])(verb)
app.add_typer(fleets.fleet)


def main() -> None:
    """Run the command line."""
    everywhere, arguments = opt.GlobalOptions.take(sys.argv[1:])
    terminal.settle(**vars(everywhere))
    terminal.listen()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # ends as Ctrl-C does
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Threads of torch that wait for each other by spinning slow each other down 10 times and more
    # where the cores are shared; torch reads this when it is imported, inside a verb.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Python processes that are started from here run no file of the current folder.
    os.environ["PYTHONSAFEPATH"] = "1"
    go_on = command_line(sys.argv[1:]) if arguments[:1] and arguments[0] in KEEPING else None
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False) or FINISHED
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        code = terminal.complain(error, go_on=go_on)
    sys.exit(code)
