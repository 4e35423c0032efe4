"""The command that serves the models."""

import asyncio
from typing import Annotated

import numpy as np
import typer

from model.package_directory import check_default_model
from service.app import create_tracing, new_state
from service.http.protection.auth import ApiKeys
from service.server import listening_socket, run_server
from service.settings import LogLevel, Settings, load_settings
from whitebox.cli.console import errors_in_one_line, fail, say


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default 8000; 0 picks a free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Serving processes; default 1.")] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The least serious log lines to write; default info.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Verify settings and models, answer one image, and stop.")
    ] = False,
) -> None:
    """Serve the models over HTTP. WHITEBOX_* variables set these options and all else (docs/settings.md).

    Example: whitebox serve --port 8000
    """
    with errors_in_one_line("serve"):
        settings = load_settings(host=host, port=port, workers=workers, log_level=log_level)
        ApiKeys.from_settings(settings)
        create_tracing(settings)
        check_default_model(settings.models_dir, settings.default_model)
        if check:
            _check(settings)
            return
        listening = listening_socket(settings)  # a port in use is told before any model is loaded
    run_server(settings, listening)


def _check(settings: Settings) -> None:
    """Loads everything as the service would and lets every model answer."""
    models = new_state(settings).models
    asyncio.run(models.load_all())
    for model in models:
        predicted = model.engine.predict(np.zeros((1, *model.engine.size), np.float32))
        label = model.engine.labels[int(predicted.logits[0].argmax())]
        name = f"{model.package.name}/{model.package.version}"
        say(f"{name} answers {label} to a blank image; digest {model.package.digest[:12]}")
    if refused := models.refused():
        fail("\n".join(f"{name}/{version}: {reason}" for (name, version), reason in refused.items()))
    has_keys = bool(ApiKeys.from_settings(settings))
    access = "asks for an API key" if has_keys else "is open to everybody who can reach it"
    say(f"Settings and models are fine. The service {access}.")
