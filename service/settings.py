"""Everything about the service that can be set, from the environment or the command line."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "artifacts"


class Settings(BaseSettings):
    """Settings of the service; each is read from the environment variable WHITEBOX_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="WHITEBOX_", frozen=True)

    models_dir: Path = Field(
        default=SHIPPED_MODELS, description="Directory of model packages, NAME/VERSION/."
    )
    default_model: str = Field(
        default="mnist-3v5", description="The model that answers when a request names none."
    )
    max_images: int = Field(default=256, ge=1, description="Images in one predict request.")
    max_explain_images: int = Field(
        default=64, ge=1, description="Images in one explain request; each is 120 KB of answer."
    )
    max_attack_images: int = Field(default=8, ge=1, description="Images in one attack request.")
    max_body_bytes: int = Field(
        default=8 * 2**20, ge=1024, description="Size of a request body; larger ones get 413."
    )
    max_png_pixels: int = Field(default=4_000_000, ge=784, description="Pixels of one PNG once unpacked.")
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
