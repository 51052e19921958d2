"""Weighted sums of losses, such as cross-entropy and Dice."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imagier.errors import ConfigError, nearest
from imagier.losses.cross_entropy import CrossEntropy
from imagier.losses.dice import Dice
from imagier.losses.focal import Focal
from imagier.losses.labels import as_maps
from imagier.losses.lovasz import Lovasz
from imagier.losses.ohem import OHEM

TERMS: dict[str, type[nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "dice": Dice,
    "focal": Focal,
    "lovasz": Lovasz,
    "ohem": OHEM,
}


class Sum(nn.Module):
    """Weighted sum of several losses.

    Args:
        terms: name of a loss -> its options and its `weight` (default 1); null or {} for all defaults.
        ignore_index: label that every term ignores, or None.
        class_weights: float [K], for every term.

    Raises:
        ConfigError: for no terms, an unknown term or option, or a weight that is not positive.
    """

    def __init__(
        self,
        terms: Mapping[str, Mapping[str, Any] | None],
        ignore_index: int | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not terms:
            raise ConfigError(f"loss.terms is empty: name at least one of {', '.join(TERMS)}.")
        self.register_buffer("class_weights", class_weights, persistent=False)  # read by tasks to weight batches
        self.terms, self.weights = nn.ModuleDict(), {}
        for name, given in terms.items():
            options = dict(given or {})
            weight = options.pop("weight", 1.0)
            if weight <= 0:
                raise ConfigError(
                    f"loss.terms.{name}.weight={weight} is out of range: it must be above 0. Remove a term with "
                    f"~loss.terms.{name}."
                )
            build = _term(name, options)
            self.terms[name] = build(ignore_index=ignore_index, class_weights=class_weights, **options)
            self.weights[name] = float(weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, float32, of logits [B, K, ...] against integer labels [B, ...]."""
        maps = as_maps(logits)  # converted once for all terms
        return torch.stack([self.weights[name] * term(maps, target) for name, term in self.terms.items()]).sum()


def _term(name: str, options: Mapping[str, Any]) -> type[nn.Module]:
    """Return the class of the term. Raises ConfigError if the name or one of the options is unknown."""
    if name not in TERMS:
        raise ConfigError(f"loss.terms.{name} is unknown: choose from {', '.join(TERMS)}.{nearest(name, TERMS)}")
    known = [key for key in inspect.signature(TERMS[name]).parameters if key not in ("ignore_index", "class_weights")]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"loss.terms.{name}.{option} is unknown: {name} takes {', '.join(['weight', *known])}."
                f"{nearest(option, known)}"
            )
    return TERMS[name]
