"""Where networks run when they are not trained."""

import torch


def inference_device(accelerator: str = "auto") -> torch.device:
    """The first GPU if there is one, else the CPU.

    Args:
        accelerator: `cpu` selects the CPU in any case.
    """
    return torch.device("cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu")
