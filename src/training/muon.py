"""Muon, which updates a kernel as one matrix: K. Jordan et al., "Muon: An optimizer for hidden layers", 2024.

A kernel [O, I, h, w] is treated as a matrix [O, I h w]. Its averaged gradient is replaced by a nearby matrix whose
singular values are about one, so that weak directions of the gradient are learnt nearly as fast as strong ones. At the
same learning rate, steps are as long as AdamW's (Liu et al. 2025, arXiv 2502.16982), but higher rates work. AdamW
updates the rest: biases, normalisation, grouped kernels and tables. Deviation: first and last layers, which Jordan
leaves to AdamW, are matrices too.

torch's Muon takes no convolution kernels, and timm's computes in bfloat16 even on CPUs that emulate it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

_ITERATIONS = 5
# Jordan's: singular values from a few hundredths of the norm upwards end between 0.7 and 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_LENGTH = 0.2  # root mean square of AdamW's steps, relative to the learning rate


class Muon(Optimizer):
    """Muon for kernels of convolutions and linear layers, AdamW for the rest.

    Args:
        params: parameters, or groups of them. A group's `matrices`, a bool per parameter, says which are kernels of
            layers; without it, those with two or four dimensions are, if the first two are larger than one.
        lr: learning rate, on AdamW's scale.
        momentum: Nesterov momentum of kernels, the share of the averaged gradient that a step keeps.
        betas: AdamW's betas.
        eps: AdamW's epsilon.
        weight_decay: decoupled weight decay of all parameters, as in AdamW.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, calling `closure` first if there is one, and return its result."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices = group.get("matrices", map(_is_matrix, group["params"]))
            rest = []
            for parameter, is_matrix in zip(group["params"], matrices, strict=True):
                if parameter.grad is not None and is_matrix:
                    self._move(parameter, group)
                elif parameter.grad is not None:
                    rest.append(parameter)
            self._move_by_adamw(rest, group)
        return loss

    def _move(self, kernel: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[kernel], kernel.grad
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        towards = gradient.lerp(average, group["momentum"])
        whole = towards.full_tensor() if isinstance(towards, DTensor) else towards  # gathers FSDP's shards
        matrix = whole.flatten(1)
        length = _LENGTH * max(matrix.shape) ** 0.5
        step = orthogonal(matrix).reshape(whole.shape)
        if isinstance(kernel, DTensor):
            step = distribute_tensor(step, kernel.device_mesh, kernel.placements)
        kernel.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * length)

    def _move_by_adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                averages = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.tensor(0.0), **averages}
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            maximize=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix near `matrix`, float [A, B], whose singular values are about one (Newton-Schulz iteration)."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    unit = matrix.float() / matrix.norm().clamp(min=1e-7)
    step = _by_products(unit) if unit.device.type == "cpu" else _as_published(unit.bfloat16())
    return step.to(matrix.dtype)


def _as_published(x: Tensor) -> Tensor:
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def _by_products(x: Tensor) -> Tensor:
    """The same for CPUs, few of which multiply in bfloat16: each iteration's multiplier is computed from x x' alone.

    For a 3x3 kernel with equal channels in and out that is less than two fifths of the work, for a square matrix a
    quarter more. Half precision would not do: errors in x x' grow twelvefold per iteration.
    """
    square = x @ x.T
    step = factor = _multiplier(square)
    for _ in range(_ITERATIONS - 1):
        square = step @ square @ step
        step = _multiplier(square)
        factor = step @ factor
    return factor @ x


def _multiplier(square: Tensor) -> Tensor:
    a, b, c = _COEFFICIENTS
    multiplier = torch.addmm(square, square, square, beta=b, alpha=c)
    multiplier.diagonal().add_(a)
    return multiplier
