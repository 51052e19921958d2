"""Copy numbers from the host to a device without making the host wait."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(numbers: Sequence[float], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return `torch.tensor(numbers, dtype=dtype, device=device)`, on CUDA without synchronising.

    On CUDA, that call waits for all queued work, since its pageable source could change meanwhile; PyTorch keeps pinned
    memory alive until the copy is done.
    """
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
