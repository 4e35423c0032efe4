"""Everything about the service that can be set, from the environment or the command line."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from service.budgets import Budgets

LogLevel = Literal["debug", "info", "warning", "error"]

PREFIX = "WHITEBOX_"
# What other parts of whitebox read, with the same prefix.
OTHER_VARIABLES = ("DATA_DIR",)
# What commands that ask a service read. A service that is started with it is meant to have WHITEBOX_API_KEYS,
# and would be open to everybody.
ASKING_VARIABLES = ("API_KEY",)
# What Kubernetes sets in a pod beside a Service named whitebox or whitebox-*.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "artifacts"


class SettingsError(Exception):
    """A setting asks for what cannot be had; the message names it."""


class Settings(Budgets):
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
    package_public_key: Path | None = Field(
        default=None,
        description="PEM file of the key that packages have to be signed with; default: they need not be.",
    )
    state_dir: Path | None = Field(
        default=None,
        description="Directory that the serving processes share; default: a temporary one.",
    )
    typicality_level: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="An image whose p-value is at most this is untypical, where a request says nothing else.",
    )
    attack_workers: int = Field(
        default=1, ge=0, description="Processes that run attacks; 0 turns attacks off."
    )
    certify_workers: int = Field(
        default=1, ge=0, description="Processes that certify; 0 turns certificates off."
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
        default=(),
        description="Keys, one of which every request has to bring; `admin:` before one that may do all.",
    )
    api_key_file: Path | None = Field(
        default=None, description="File with more such keys, one a line: a mounted secret."
    )
    rate_limit: float = Field(
        default=0.0, ge=0, description="Requests a second of one API key; more get 429. 0: no limit."
    )
    metrics_cache_seconds: float = Field(
        default=1.0, ge=0, description="How long /metrics tells the same before it is written anew."
    )
    metrics_need_key: bool = Field(default=False, description="Whether /metrics asks for an API key too.")
    model_control: bool | None = Field(
        default=None,
        description="Whether requests may load and unload models; default: with an administrator's key.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Names in `Host` that are answered; default: loopback's there, elsewhere all."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins of other sites whose pages may send requests; `*`: all."
    )
    access_log: bool = Field(
        default=False, description="A log line for every request; else only for failed ones (5xx)."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets a trace of every request.",
    )

    @field_validator("api_keys", "allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = [each.strip() for each in value.split(",") if each.strip()]
        if value and not found:
            raise ValueError("it holds nothing but commas")
        return found

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: object) -> object:
        """In a pod beside a Service named whitebox, WHITEBOX_PORT is not ours but Kubernetes'."""
        is_link = isinstance(value, str) and _SERVICE_LINK_VALUE.fullmatch(value)
        return cls.model_fields["port"].default if is_link else value


def load_settings(*, for_serving: bool = True, **options: str | int | None) -> Settings:
    """Returns the settings of the environment; options of the command line that are not None come first.

    Args:
        for_serving: Whether a service will be started with them; else `WHITEBOX_API_KEY` is passed over.
        options: By the names of settings.

    Raises:
        SettingsError: A value is not valid, or a variable is none of ours.
    """
    _refuse_unknown_variables(os.environ, () if for_serving else ASKING_VARIABLES)
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


def _refuse_unknown_variables(environment: Mapping[str, str], others: Sequence[str]) -> None:
    """A misspelt variable would leave its setting at the default, and nobody would notice."""
    known = [name.upper() for name in Settings.model_fields] + [*OTHER_VARIABLES, *others]
    for variable, value in environment.items():
        name = variable.upper().removeprefix(PREFIX)
        if name == variable.upper() or name in known:
            continue
        if _SERVICE_LINK.fullmatch(name) or _SERVICE_LINK_VALUE.fullmatch(value):
            continue
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/settings.md lists all."
        raise SettingsError(f"{variable} is not a setting; {hint}")
