"""The command `whitebox`: the commands of training and of the service under one name."""

import typer

import service.cli
import training.cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _command in (
    service.cli.serve,
    service.cli.predict,
    service.cli.explain,
    service.cli.attack,
    training.cli.train,
    training.cli.evaluate,
    training.cli.certify,
    training.cli.inside,
    training.cli.report,
    training.cli.export,
):
    app.command()(_command)
