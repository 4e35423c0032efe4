"""The command `whitebox`: the commands of training, evaluation and the service under one name."""

import typer

from whitebox.cli.asking import attack, explain, predict
from whitebox.cli.certifying import certify
from whitebox.cli.evaluation import evaluate, inside, report
from whitebox.cli.service import serve
from whitebox.cli.training import export, train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _command in (serve, predict, explain, attack, train, evaluate, certify, inside, report, export):
    app.command()(_command)
