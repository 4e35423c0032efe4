"""A training run's directory, and what is read back from it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from model.network import WhiteBoxNetwork
from training.errors import TrainingError
from training.networks.architectures import Network, build, config_from_dict


class RunError(TrainingError):
    """A run directory cannot be used as asked."""


@dataclass(frozen=True)
class Run:
    """A training run on disk."""

    directory: Path

    @property
    def checkpoint(self) -> Path:
        """Parameters and optimizer state after the last finished epoch."""
        return self.directory / "checkpoint.safetensors"

    @property
    def metrics(self) -> Path:
        """JSON lines, one an epoch."""
        return self.directory / "metrics.jsonl"

    @property
    def network(self) -> Path:
        """The trained parameters; exists only when training is finished."""
        return self.directory / "network.safetensors"

    @property
    def card(self) -> Path:
        """What `whitebox evaluate` measured."""
        return self.directory / "card.json"

    def epochs(self) -> list[dict[str, Any]]:
        """Returns the finished epochs' lines of metrics.jsonl."""
        lines = self.metrics.read_text().splitlines() if self.metrics.exists() else []
        return [json.loads(line) for line in lines]

    def description(self) -> dict[str, Any]:
        """Returns recipe, seed and data as `whitebox train` recorded them."""
        path = self.directory / "recipe.json"
        if not path.exists():
            raise RunError(f"{self.directory} holds no run: there is no recipe.json in it.")
        description: dict[str, Any] = json.loads(path.read_text())
        return description

    def load(self) -> Network:
        """Returns the trained network, of whatever architecture the recipe has.

        Raises:
            RunError: Training has not finished.
        """
        description = self.description()
        if not self.network.exists():
            raise RunError(
                f"The run in {self.directory} is not finished. Go on with the command that started it: "
                f"recipe {description['recipe']['name']}, seed {description['seed']}, "
                f"{description['recipe']['epochs']} epochs, {description['data']['source']}."
            )
        network = build(config_from_dict(description["recipe"]["network"]))
        network.load_state_dict(load_file(self.network))
        return network.eval()

    def load_white_box(self) -> WhiteBoxNetwork:
        """Returns the trained white-box network.

        Raises:
            RunError: Training has not finished, or trained something else.
        """
        network = self.load()
        if not isinstance(network, WhiteBoxNetwork):
            raise RunError(f"The run in {self.directory} trained no white-box network.")
        return network
