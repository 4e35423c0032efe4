"""The networks that a recipe can train, each known by the name that recipe.json gives it."""

from typing import Any

from model.network import NetworkConfig, WhiteBoxNetwork
from training.networks.ablations import AblatedNetwork, AblationConfig
from training.networks.baselines import (
    CnnConfig,
    LogisticConfig,
    LogisticRegression,
    SmallCnn,
    ThresholdedCnn,
    ThresholdedCnnConfig,
)
from training.networks.strided_cnn import StridedCnn, StridedCnnConfig

Config = NetworkConfig | AblationConfig | LogisticConfig | CnnConfig | ThresholdedCnnConfig | StridedCnnConfig
Network = WhiteBoxNetwork | AblatedNetwork | LogisticRegression | SmallCnn | ThresholdedCnn | StridedCnn

_CONFIGS: dict[str, type[Config]] = {
    "white-box": NetworkConfig,
    "ablation": AblationConfig,
    "logistic": LogisticConfig,
    "cnn": CnnConfig,
    "cnn-thresholded": ThresholdedCnnConfig,
    "cnn-strided": StridedCnnConfig,
}


def build(config: Config) -> Network:
    """Returns a network with the starting values that torch's seed gives it."""
    match config:
        case NetworkConfig():
            return WhiteBoxNetwork(config)
        case AblationConfig():
            return AblatedNetwork(config)
        case ThresholdedCnnConfig():
            return ThresholdedCnn(config)
        case CnnConfig():
            return SmallCnn(config)
        case StridedCnnConfig():
            return StridedCnn(config)
        case LogisticConfig():
            return LogisticRegression(config)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Returns a config as plain JSON values, with the name of its architecture."""
    name = next(name for name, known in _CONFIGS.items() if type(config) is known)
    return {"architecture": name, **config.to_dict()}


def config_from_dict(values: dict[str, Any]) -> Config:
    """Reads what `config_to_dict` wrote."""
    sizes = {key: value for key, value in values.items() if key != "architecture"}
    return _CONFIGS[values["architecture"]].from_dict(sizes)
