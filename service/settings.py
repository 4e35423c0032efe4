"""Everything about the service that can be set, from the environment or the command line."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LogLevel = Literal["debug", "info", "warning", "error"]

PREFIX = "WHITEBOX_"
# What other parts of whitebox read, with the same prefix.
OTHER_VARIABLES = ("DATA_DIR",)
# What Kubernetes sets in a pod beside a Service named whitebox or whitebox-*.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "artifacts"


class SettingsError(Exception):
    """A setting asks for what cannot be had; the message names it."""


class Settings(BaseSettings):
    """Settings of the service; each is read from the environment variable WHITEBOX_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    workers: int = Field(default=1, ge=1, le=64, description="Serving processes.")
    log_level: LogLevel = Field(default="info", description="The least serious log lines that are written.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="How log lines are written; auto: text on a terminal, else JSON."
    )
    models_dir: Path = Field(
        default=SHIPPED_MODELS, description="Directory of model packages, NAME/VERSION/."
    )
    default_model: str = Field(
        default="mnist-10", description="The model that answers when a request names none."
    )
    models_poll_seconds: float = Field(
        default=1.0, ge=0, description="How often the directory is looked at for changes; 0: never."
    )
    model_trial_seconds: float = Field(
        default=30.0, gt=0, description="What a package may take when it is tried before it is loaded."
    )
    state_dir: Path | None = Field(
        default=None,
        description="Directory that the serving processes share; default: a temporary one.",
    )
    max_images: int = Field(default=256, ge=1, description="Images in one predict request.")
    max_explain_images: int = Field(
        default=64, ge=1, description="Images in one explain request; each is 120 KB of answer."
    )
    max_attack_images: int = Field(default=8, ge=1, description="Images in one attack request.")
    max_body_bytes: int = Field(
        default=8 * 2**20, ge=1024, description="Size of a request body; larger ones get 413."
    )
    max_png_pixels: int = Field(default=16_000_000, ge=64, description="Pixels of one file once unpacked.")
    typicality_level: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="An image whose p-value is at most this is untypical, where a request says nothing else.",
    )
    request_timeout_ms: int = Field(
        default=10_000, ge=1, description="Deadline of a predict or explain request that names none."
    )
    max_waiting_images: int = Field(
        default=1024, ge=1, description="Images that may wait for inference; requests beyond get 429."
    )
    max_requests: int = Field(
        default=128, ge=1, description="Requests in progress in one serving process; more get 429."
    )
    attack_workers: int = Field(
        default=1, ge=0, description="Processes that run attacks; 0 turns attacks off."
    )
    attack_queue: int = Field(
        default=16, ge=0, description="Attack requests that may wait for a worker; more get 429."
    )
    attack_timeout_seconds: float = Field(
        default=60.0, gt=0, description="Wall time of one attack request, waiting included."
    )
    max_attack_queries: int = Field(
        default=100_000, ge=1, description="Highest query budget of an attack, per image."
    )
    max_attack_steps: int = Field(default=100_000, ge=1, description="Steps of one attack.")
    max_certify_images: int = Field(default=64, ge=1, description="Images in one certify request.")
    certify_workers: int = Field(
        default=1, ge=0, description="Processes that certify; 0 turns certificates off."
    )
    certify_queue: int = Field(
        default=64, ge=0, description="Certify requests that may wait for a worker; more get 429."
    )
    certify_timeout_seconds: float = Field(
        default=30.0, gt=0, description="Wall time of one certify request, waiting included."
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        description="How long an idle connection is kept; longer than the load balancer keeps it.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="After SIGTERM: how long to go on serving, unready, before connections are closed.",
    )
    shutdown_seconds: int = Field(
        default=20, ge=0, description="After that: how long requests in progress may take to end."
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Keys, separated by commas, one of which every request has to bring."
    )
    api_key_file: Path | None = Field(
        default=None, description="File with more such keys, one a line: a mounted secret."
    )
    rate_limit: float = Field(
        default=0.0, ge=0, description="Requests a second of one API key; more get 429. 0: no limit."
    )
    metrics_need_key: bool = Field(default=False, description="Whether /metrics asks for an API key too.")
    model_control: bool = Field(
        default=True, description="Whether requests may load and unload models (the repository API)."
    )
    access_log: bool = Field(
        default=False, description="A log line for every request; else only for failed ones (5xx)."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets a trace of every request.",
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        return [key for key in value.split(",") if key.strip()] if isinstance(value, str) else value

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: object) -> object:
        """In a pod beside a Service named whitebox, WHITEBOX_PORT is not ours but Kubernetes'."""
        is_link = isinstance(value, str) and _SERVICE_LINK_VALUE.fullmatch(value)
        return cls.model_fields["port"].default if is_link else value


def load_settings(**options: str | int | None) -> Settings:
    """Returns the settings of the environment; options of the command line that are not None come first.

    Raises:
        SettingsError: A value is not valid, or a variable is none of ours.
    """
    _refuse_unknown_variables(os.environ)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [(str(found["loc"][0]), found["msg"]) for found in error.errors()]
        raise SettingsError(
            "\n".join(f"{_shown(name, given)}: {message}" for name, message in wrong)
        ) from error


def _shown(name: str, options: Mapping[str, object]) -> str:
    return f"--{name.replace('_', '-')}" if name in options else PREFIX + name.upper()


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """A misspelt variable would leave its setting at the default, and nobody would notice."""
    known = [name.upper() for name in Settings.model_fields] + list(OTHER_VARIABLES)
    for variable, value in environment.items():
        name = variable.upper().removeprefix(PREFIX)
        if name == variable.upper() or name in known:
            continue
        if _SERVICE_LINK.fullmatch(name) or _SERVICE_LINK_VALUE.fullmatch(value):
            continue
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/settings.md lists all."
        raise SettingsError(f"{variable} is not a setting; {hint}")
