"""Several losses added up, such as cross-entropy and Dice."""

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
    """Add losses, each times its weight.

    Args:
        terms: name of a loss -> its options and its `weight` (1 if not given); null or {} for all defaults.
        ignore_index: the label that counts nowhere, in every term.
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
        self.register_buffer("class_weights", class_weights, persistent=False)  # by which a task weighs its batches
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
        """Return the loss, float32, of logits [B, K, ...] against whole-number labels [B, ...]."""
        maps = as_maps(logits)  # once for all of them
        return torch.stack([self.weights[name] * term(maps, target) for name, term in self.terms.items()]).sum()


def _term(name: str, options: Mapping[str, Any]) -> type[nn.Module]:
    """Return the class of the term, having checked that it has these options."""
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
