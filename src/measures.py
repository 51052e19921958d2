"""Which settings change what a score measures, and so make the scores of two runs incomparable."""

# Keys of data and task that change only training, not what is measured.
_FEEDING = (
    "data.batch_size", "data.repeat", "data.workers", "data.seed", "data.cache", "data.download", "data.tasks",
    "data.augment_first", "data.decode_once", "data.per_class", "task.class_weights", "task.auxiliary_weight",
    "task.cutmix", "task.cutmix_epochs",
)  # fmt: skip
VALIDATED = "trainer.limit_val_batches"  # the part of the validation split that is used: 1 is one batch, 1.0 is all
_SHORTENED = ("trainer.overfit_batches", "trainer.fast_dev_run")  # these validate on a few batches
FILES = ("data.root", "data.on_error")  # these select the samples, but the data's fingerprint is more exact


def changes_measure(key: str, monitor: str) -> bool:
    """Whether another value of `key` makes the score `monitor` one of other images, other noise or another unit."""
    key = key.lstrip("+~").replace("/", ".")
    group = key.partition(".")[0]
    if key in (VALIDATED, *_SHORTENED):
        return True
    if monitor.endswith("/loss") and (group == "loss" or key in ("model.lambdas", "task.class_weights")):
        return True
    return group in ("task", "data", "noise") and key not in _FEEDING
