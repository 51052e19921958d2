"""Numbers of the host on a device, without making the host wait for it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(numbers: Sequence[float], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return `torch.tensor(numbers, dtype=dtype, device=device)`.

    That waits on CUDA until all that is queued there is done, since what it copies could change meanwhile; pinned
    memory is kept until it is copied.
    """
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
