"""The base of all tasks: training step, evaluation step and optimiser. A task adds loss, metrics and meaning."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from imagier.batch import Batch, Facts
from imagier.metrics.weighted_mean import EXACT, WeightedMean
from imagier.randomness import derive_seed
from imagier.tasks.faults import refuse_unmeasured, told_of

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


STAGES = ("train", "val", "test")


class PerStage(nn.Module):
    """One metric for each stage, so that a validation in mid-epoch does not affect the training's counts.

    Args:
        make: creates a torchmetrics metric.
    """

    def __init__(self, make: Callable[[], Metric]) -> None:
        super().__init__()
        self.metrics = nn.ModuleList(make() for _ in STAGES)

    def __getitem__(self, stage: str) -> Any:
        return self.metrics[STAGES.index(stage)]


@dataclass(frozen=True)
class Judged:
    """What a report shows of a batch.

    prediction: segment: int64 [B, H, W]; classify: int64 [B]; denoise, compress: the output, uint8 [B, C, H, W].
    score:      float [B], higher is better; the report selects samples by it.
    figures:    numbers shown beside a sample, float [B] each, such as iou, probability, psnr or bytes.
    seen:       uint8 [B, C, H, W], the network's input if it differs from the batch's images, such as noisy images.
    """

    prediction: Tensor
    score: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Tensor | None = None


class Task(LightningModule):
    """Base of all tasks.

    A subclass implements `measure` (loss of one batch), `count` (update of the metrics), `scores` (the metrics so far)
    and `judge` (what a report shows of a batch), and sets `monitor`, the validation score that selects the best
    checkpoint, such as val/iou, and `mode`, max or min.

    Args:
        net: takes uint8 [B, C, H, W]; see `imagier.models.pixels.FromPixels`.
        loss: maps (outputs, target) to a scalar.
        facts: describes the data.
        optimizer: creates the optimiser from parameter groups; None for a task that only evaluates.
        seed: seed of everything random in training except the data: dropout, CutMix, noise, rates.
    """

    monitor: str
    mode: str
    reports_anyway = False  # whether a test without any label is no error: set after training, to get a report anyway
    precisions: tuple[str, ...] = ()  # the Trainer's precisions that the task supports, in Lightning's names; (): all

    def __init__(
        self, net: nn.Module, loss: nn.Module, facts: Facts, optimizer: OptimizerFactory | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.net, self.loss, self.facts = net, loss, facts
        self._optimizer, self._seed = optimizer, seed
        self.confusion_counts: dict[str, Tensor] = {}  # stage -> int64 [K, K] of its last epoch, on the CPU
        self.epoch_scores: dict[str, dict[str, Tensor]] = {}  # stage -> float scalars of its last epoch
        self.mean_loss = PerStage(WeightedMean)

    def measure(self, batch: Batch, stage: str) -> tuple[Tensor, Any]:
        """Return the loss of `batch`, a scalar, and the predictions, or whatever else `count` takes."""
        raise NotImplementedError

    def count(self, stage: str, prediction: Any, batch: Batch) -> None:
        """Add one batch to the metrics of `stage`."""
        raise NotImplementedError

    def scores(self, stage: str) -> Mapping[str, Tensor | float]:
        """Return every score of `stage` so far by its name without the stage, for instance {"iou": ...}.

        NaN means that no sample so far has the score.
        """
        raise NotImplementedError

    def question(self, batch: Batch) -> Tensor:
        """Return the inputs of a deployed network for `batch`, uint8 [B, C, H, W]: by default its images."""
        return batch["image"]

    def judge(self, batch: Batch) -> Judged:
        """Return the predictions for `batch` with a score and figures for each sample."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, C, H, W] to the network's outputs."""
        return self.net(image)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout and the like by (seed, epoch, batch, process), so that a resumed run draws the same numbers."""
        seed = self.seed_of_step(batch_idx, self.global_rank)
        # torch.manual_seed would also queue a seed, with a stack trace, for GPUs that are not initialised.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def seed_of_step(self, batch_idx: int, process: int = 0) -> int:
        """Return a seed for (seed, epoch, batch) and, if each process draws its own numbers, its rank."""
        return derive_seed("step", self._seed, self.current_epoch, batch_idx, process)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss to minimise."""
        loss = self._step(batch, "train")
        share, mean = self._over_processes(loss.detach(), batch)
        self.log("train/step_loss", mean, on_step=True, on_epoch=False, batch_size=len(batch["id"]))
        return loss * share * self._of_the_window(batch_idx)

    def _of_the_window(self, batch_idx: int) -> float:
        """Return the factor that corrects the loss if an epoch's last step accumulates fewer batches than the others.

        Lightning divides each batch's loss by `accumulate_grad_batches`, however many there are.
        """
        gathered, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        left = batches % gathered
        return gathered / left if left and batch_idx >= batches - left else 1.0

    def _over_processes(self, loss: Tensor, batch: Batch) -> tuple[Tensor | float, Tensor]:
        """Return the weight of this process's loss among all processes, and their mean loss, as for one large batch.

        A plain average of gradients would give pixels more weight in processes whose part of the batch has fewer.
        """
        if not distributed.is_initialized():
            return 1.0, loss
        weight = self._weight(batch)
        sums = torch.stack([loss * weight, weight]).to(EXACT)
        distributed.all_reduce(sums)
        total = sums[1].clamp(min=torch.finfo(sums.dtype).tiny)
        return (weight * distributed.get_world_size() / total).to(loss.dtype), (sums[0] / total).to(loss.dtype)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate one validation batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate one test batch."""
        self._step(batch, "test")

    def _step(self, batch: Batch, stage: str) -> Tensor:
        with told_of(self.net, batch):
            loss, prediction = self.measure(batch, stage)
        self.mean_loss[stage].update(loss.detach(), self._weight(batch))
        self.count(stage, prediction, batch)
        return loss

    def _weight(self, batch: Batch) -> Tensor:
        """Return the total weight in the batch's mean loss, so that an epoch's loss is the mean over samples or pixels.

        Losses that are not sums over pixels, such as Dice, still depend on the batch size.
        """
        target, ignored = batch["target"], self.facts.ignore_index
        counted = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != ignored
        weights = getattr(self.loss, "class_weights", None)
        return counted.sum() if weights is None else (weights[(target * counted).long()] * counted).sum()

    def on_validation_epoch_start(self) -> None:
        """Copy the first process's batch statistics, which checkpoints contain, to all processes."""
        if distributed.is_initialized():
            for buffer in self.net.buffers():
                distributed.broadcast(buffer, src=0)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training scores."""
        self._log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        told = {"loss": self.mean_loss[stage].compute()} | dict(self.scores(stage))
        values = {name: torch.as_tensor(value, device=self.device).float() for name, value in told.items()}
        # Scores of absent classes are left out, but a NaN loss is logged: Lightning would keep the previous epoch's.
        known = {name: value for name, value in values.items() if name == "loss" or not value.isnan()}
        self.epoch_scores[stage] = known
        if stage != "train":
            refuse_unmeasured(self, stage, values)
        self.log_dict({f"{stage}/{name}": value for name, value in self.epoch_scores[stage].items()})
        for metric in self.metrics_of(stage):
            metric.reset()

    @property
    def validates_wholly(self) -> bool:
        """Whether a validation during training computes all scores that one after training would."""
        return True

    def metrics_of(self, stage: str) -> Iterator[Any]:
        """Return all metrics of `stage`."""
        return (child[stage] for child in self.children() if isinstance(child, PerStage))

    def configure_optimizers(self) -> Optimizer:
        """Create the optimiser, with weight decay for kernels and matrices only, not for biases or normalisation.

        `matrices` marks the weights of linear layers and ungrouped 2D convolutions, which Muon updates differently from
        other parameters.

        Raises:
            RuntimeError: if the task was built without an optimiser.
        """
        if self._optimizer is None:
            raise RuntimeError("this task was built for evaluation and has no optimizer")
        trained = [named for named in self.net.named_parameters() if named[1].requires_grad]
        # Also by name: some parameters of GDN and of learned densities have several dimensions, but are not weights.
        kernels = [parameter for name, parameter in trained if parameter.ndim > 1 and _is_weight(name)]
        others = [parameter for name, parameter in trained if parameter.ndim <= 1 or not _is_weight(name)]
        of_layers = {id(layer.weight) for layer in self.net.modules() if _maps_all_channels(layer)}
        matrices = [id(parameter) in of_layers for parameter in kernels]
        none = [False] * len(others)
        return self._optimizer(
            [{"params": kernels, "matrices": matrices}, {"params": others, "weight_decay": 0.0, "matrices": none}]
        )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, also in bf16-mixed, where Lightning rejects fused optimisers as if the loss were scaled."""
        precision = self.trainer.precision_plugin
        if getattr(precision, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            kind = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
            Precision.clip_gradients(precision, optimizer, gradient_clip_val, kind)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the training metrics, summed over all processes, so that a resumed epoch reports the same scores."""
        checkpoint["train_metrics"] = [_state(metric) for metric in self.metrics_of("train")]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training metrics in the first process; the others start at zero, since the state is their sum.

        A metric whose shape has changed, for instance by other noise levels, starts at zero as well.
        """
        if self.global_rank > 0:
            return
        for metric, state in zip(self.metrics_of("train"), checkpoint.get("train_metrics", []), strict=False):
            if any(_shape(value) != _shape(metric.metric_state.get(name)) for name, value in state.items()):
                continue
            for name, value in state.items():
                setattr(metric, name, value.to(self.device) if isinstance(value, Tensor) else value)


def _state(metric: Any) -> dict[str, Any]:
    # Cloned, so that a checkpoint written later does not contain counts added meanwhile.
    with metric.sync_context():
        return {name: value.clone() for name, value in metric.metric_state.items()} | {
            "_update_count": metric._update_count
        }


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _is_weight(name: str) -> bool:
    """Whether a name is that of a layer's weight: `weight`, `in_proj_weight`, `weight_ih_l0`, or a parametrized one."""
    return "weight" in name.rpartition(".")[2] or ".parametrizations.weight." in name


def _maps_all_channels(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and getattr(layer, "groups", 1) == 1
