"""How often each whole number occurs, without making the host wait for a GPU."""

import torch
from torch import Tensor

_TABLES, _BINS = 64, 1 << 22  # at most so many of both together: 32 MB


def counted(index_N: Tensor, bins: int) -> Tensor:
    """Return how often each of 0 to `bins` - 1 occurs in `index_N`, int64 [N] of no others: int64 [bins].

    `torch.bincount` is the same, and faster on a CPU; on a GPU it has the host look for the largest number, so that
    everything queued there has to be done first. Here neighbours count into 64 tables, since threads that add to one
    number do so one after the other.
    """
    if index_N.device.type in ("cpu", "mps"):  # Apple's GPU is as it was: nobody has tried the other way there
        return torch.bincount(index_N, minlength=bins)
    return counted_apart(index_N, bins)


def counted_apart(index_N: Tensor, bins: int) -> Tensor:
    """As `counted`, by 64 tables on every device, or by fewer of many bins."""
    tables = max(1, min(_TABLES, _BINS // bins))
    spread_N = index_N + torch.arange(len(index_N), device=index_N.device) % tables * bins
    counts = torch.zeros(tables * bins, dtype=torch.int64, device=index_N.device)
    return counts.scatter_add_(0, spread_N, torch.ones_like(spread_N)).view(tables, bins).sum(0)
