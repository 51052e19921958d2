"""What the tasks share: one training step, one evaluation step, an optimiser. A task adds loss, metrics and meaning."""

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
    """One metric for each stage, so that a validation in mid-epoch leaves the training's counts alone.

    Args:
        make: makes a torchmetrics metric.
    """

    def __init__(self, make: Callable[[], Metric]) -> None:
        super().__init__()
        self.metrics = nn.ModuleList(make() for _ in STAGES)

    def __getitem__(self, stage: str) -> Any:
        return self.metrics[STAGES.index(stage)]


@dataclass(frozen=True)
class Judged:
    """What a report shows of a batch.

    prediction: segment: int64 [B, H, W]; classify: int64 [B]; denoise, compress: the picture made, uint8 [B, C, H, W].
    score:      float [B], higher is better: by it the report finds telling samples.
    figures:    numbers written beside a sample, float [B] each, such as iou, probability, psnr or bytes.
    seen:       uint8 [B, C, H, W], what the net saw where that is not the batch's image; a noisy picture.
    """

    prediction: Tensor
    score: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Tensor | None = None


class Task(LightningModule):
    """Base of all tasks.

    A subclass implements `measure` (loss of one batch), `count` (metrics of one batch), `scores` (what they add up to)
    and `judge` (what a report shows of a batch), and sets `monitor`, the score of val by which the best checkpoint is
    chosen, such as val/iou, and `mode`, max or min.

    Args:
        net: takes uint8 [B, C, H, W], see `imagier.models.pixels.FromPixels`.
        loss: of (outputs, target), a scalar.
        facts: of the data.
        optimizer: makes the optimiser from parameter groups; None for a task that only evaluates.
        seed: of what is random on the device (dropout, noise).
    """

    monitor: str
    mode: str
    reports_anyway = False  # where nothing of a test is labelled: after a training, whose report is not to be lost
    precisions: tuple[str, ...] = ()  # of a Trainer in which its nets compute, as Lightning names them; none: in any

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
        """Return the loss of `batch`, a scalar, and the predictions, or whatever else `count` counts."""
        raise NotImplementedError

    def count(self, stage: str, prediction: Any, batch: Batch) -> None:
        """Add one batch to the metrics of `stage`."""
        raise NotImplementedError

    def scores(self, stage: str) -> Mapping[str, Tensor | float]:
        """Return every score of `stage` so far by its name without the stage, for instance {"iou": ...}.

        NaN says that nothing was measured which has it.
        """
        raise NotImplementedError

    def question(self, batch: Batch) -> Tensor:
        """Return what a net in use is asked about, uint8 [B, C, H, W]: here the images themselves."""
        return batch["image"]

    def judge(self, batch: Batch) -> Judged:
        """Return the predictions for `batch` with what a reader wants to know about each."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, C, H, W] to the net's outputs."""
        return self.net(image)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make dropout a function of (seed, epoch, batch) alone, so that a resumed run draws the same."""
        seed = self.seed_of_step(batch_idx, self.global_rank)
        # torch.manual_seed would also put a seed by for every GPU that is not in use, and remember from where.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def seed_of_step(self, batch_idx: int, process: int = 0) -> int:
        """A function of (seed, epoch, batch), and of the process that draws for itself."""
        return derive_seed("step", self._seed, self.current_epoch, batch_idx, process)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss to descend."""
        loss = self._step(batch, "train")
        share, mean = self._over_processes(loss.detach(), batch)
        self.log("train/step_loss", mean, on_step=True, on_epoch=False, batch_size=len(batch["id"]))
        return loss * share * self._of_the_window(batch_idx)

    def _of_the_window(self, batch_idx: int) -> float:
        """What makes the mean over the batches of a step, where an epoch's last one gathers fewer than the others.

        Lightning divides each batch's loss by `accumulate_grad_batches`, whatever there is.
        """
        gathered, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        left = batches % gathered
        return gathered / left if left and batch_idx >= batches - left else 1.0

    def _over_processes(self, loss: Tensor, batch: Batch) -> tuple[Tensor | float, Tensor]:
        """Return how much this process's loss counts among those of all, and their mean, as of one large batch.

        Averaging gradients as they are would count a pixel more where its process's share of the batch holds fewer.
        """
        if not distributed.is_initialized():
            return 1.0, loss
        weight = self._weight(batch)
        sums = torch.stack([loss * weight, weight]).to(EXACT)
        distributed.all_reduce(sums)
        total = sums[1].clamp(min=torch.finfo(sums.dtype).tiny)
        return (weight * distributed.get_world_size() / total).to(loss.dtype), (sums[0] / total).to(loss.dtype)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one validation batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one test batch."""
        self._step(batch, "test")

    def _step(self, batch: Batch, stage: str) -> Tensor:
        with told_of(self.net, batch):
            loss, prediction = self.measure(batch, stage)
        self.mean_loss[stage].update(loss.detach(), self._weight(batch))
        self.count(stage, prediction, batch)
        return loss

    def _weight(self, batch: Batch) -> Tensor:
        """What the batch's mean loss is a mean over, so that an epoch's is the mean of all its samples or pixels.

        Losses that are none of single pixels, such as Dice, depend on the batch size all the same.
        """
        target, ignored = batch["target"], self.facts.ignore_index
        counted = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != ignored
        weights = getattr(self.loss, "class_weights", None)
        return counted.sum() if weights is None else (weights[(target * counted).long()] * counted).sum()

    def on_validation_epoch_start(self) -> None:
        """Measure, in every process, with the first one's normalisation statistics: those that checkpoints hold."""
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
        # A class that does not occur has no score. A loss of NaN is told: Lightning would keep that of an epoch before.
        known = {name: value for name, value in values.items() if name == "loss" or not value.isnan()}
        self.epoch_scores[stage] = known
        if stage != "train":
            refuse_unmeasured(self, stage, values)
        self.log_dict({f"{stage}/{name}": value for name, value in self.epoch_scores[stage].items()})
        for metric in self.metrics_of(stage):
            metric.reset()

    @property
    def validates_wholly(self) -> bool:
        """Whether a validation while training finds every score that one afterwards would."""
        return True

    def metrics_of(self, stage: str) -> Iterator[Any]:
        """Every metric that counts `stage`."""
        return (child[stage] for child in self.children() if isinstance(child, PerStage))

    def configure_optimizers(self) -> Optimizer:
        """Weight decay applies to kernels and matrices, not to biases, normalisation, positions and gains.

        Of each kernel the first group also says whether it is one of a layer's, which maps all of its channels, and no
        table of something else: Muon moves the two in different ways.
        """
        if self._optimizer is None:
            raise RuntimeError("this task was built for evaluation and has no optimizer")
        trained = [named for named in self.net.named_parameters() if named[1].requires_grad]
        # By its name, too: divisive normalisation and a density's biases have several dimensions.
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
        """Clip, in bf16-mixed too, where Lightning refuses fused optimisers as if the loss were scaled."""
        precision = self.trainer.precision_plugin
        if getattr(precision, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            kind = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
            Precision.clip_gradients(precision, optimizer, gradient_clip_val, kind)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the half-counted training scores of an interrupted epoch, so that a resumed one reports the same.

        They are those of all processes together.
        """
        checkpoint["train_metrics"] = [_state(metric) for metric in self.metrics_of("train")]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Undo `on_save_checkpoint`: the first process goes on with what has been counted, the others from nothing.

        So does a metric that counts something else now, such as other noise levels.
        """
        if self.global_rank > 0:
            return
        for metric, state in zip(self.metrics_of("train"), checkpoint.get("train_metrics", []), strict=False):
            if any(_shape(value) != _shape(metric.metric_state.get(name)) for name, value in state.items()):
                continue
            for name, value in state.items():
                setattr(metric, name, value.to(self.device) if isinstance(value, Tensor) else value)


def _state(metric: Any) -> dict[str, Any]:
    # clone: a checkpoint that is written later must not see counts added meanwhile
    with metric.sync_context():
        return {name: value.clone() for name, value in metric.metric_state.items()} | {
            "_update_count": metric._update_count
        }


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _is_weight(name: str) -> bool:
    """As layers call theirs: `weight`, `in_proj_weight`, `weight_ih_l0`, or what one is made of."""
    return "weight" in name.rpartition(".")[2] or ".parametrizations.weight." in name


def _maps_all_channels(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and getattr(layer, "groups", 1) == 1
