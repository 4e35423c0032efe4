"""Where a training computes."""

from typing import TYPE_CHECKING, Literal

from training.errors import TrainingError

if TYPE_CHECKING:
    import torch

DeviceChoice = Literal["auto", "cpu", "cuda"]


def find_device(choice: DeviceChoice) -> "torch.device":
    """Returns the device of a choice: `auto` is a GPU where torch finds one, else the processor.

    Raises:
        TrainingError: A GPU is asked for, and torch finds none.
    """
    import torch  # noqa: PLC0415 (the command line reads the choices, and does without)

    found = torch.cuda.is_available()
    if choice == "cuda" and not found:
        raise TrainingError(
            f"torch {torch.__version__} finds no GPU. Train with --device cpu, or install a build of torch "
            f"for CUDA."
        )
    return torch.device("cuda" if found and choice != "cpu" else "cpu")
