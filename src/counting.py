"""Count occurrences of integers without making the host wait for a GPU."""

import torch
from torch import Tensor

_TABLES, _BINS = 64, 1 << 22  # tables at most, and entries in all of them: 32 MiB, or one larger table


def counted(index_N: Tensor, bins: int) -> Tensor:
    """Count how often each integer from 0 to `bins` - 1 occurs in `index_N`.

    `torch.bincount` does the same, and faster on a CPU; on a GPU it makes the host read the largest value, which waits
    for all queued work. Here neighbours count into different tables, since additions to one number are serialised.

    Args:
        index_N: int64 [N], each in [0, bins).
        bins: number of counters.

    Returns:
        int64 [bins].
    """
    if index_N.device.type in ("cpu", "mps"):  # the tables are untested on Apple's GPUs
        return torch.bincount(index_N, minlength=bins)
    return counted_apart(index_N, bins)


def counted_apart(index_N: Tensor, bins: int) -> Tensor:
    """Count as `counted` does, with tables on every device: 64 of them, or fewer if there are many bins."""
    tables = max(1, min(_TABLES, _BINS // bins))
    spread_N = index_N + torch.arange(len(index_N), device=index_N.device) % tables * bins
    counts = torch.zeros(tables * bins, dtype=torch.int64, device=index_N.device)
    return counts.scatter_add_(0, spread_N, torch.ones_like(spread_N)).view(tables, bins).sum(0)
