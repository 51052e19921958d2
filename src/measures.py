"""Which settings say what a score is of, and which only how training is fed: scores of one measure can be compared."""

# Keys of the data, the task and the noise that change how training is fed, not what is measured.
_FEEDING = (
    "data.batch_size", "data.repeat", "data.workers", "data.seed", "data.cache", "data.download", "data.tasks",
    "data.augment_first", "data.decode_once", "data.per_class", "task.class_weights", "task.auxiliary_weight",
    "task.cutmix", "task.cutmix_epochs",
)  # fmt: skip
VALIDATED = "trainer.limit_val_batches"  # how much of validation: 1 is a batch, 1.0 all of them
_SHORTENED = ("trainer.overfit_batches", "trainer.fast_dev_run")  # which validate on a few batches
FILES = ("data.root", "data.on_error")  # which samples there are: a fingerprint of the data tells more of it


def changes_measure(key: str, monitor: str) -> bool:
    """Whether another value of `key` makes the score `monitor` that of other pictures, noise or units."""
    key = key.lstrip("+~").replace("/", ".")
    group = key.partition(".")[0]
    if key in (VALIDATED, *_SHORTENED):
        return True
    if monitor.endswith("/loss") and (group == "loss" or key in ("model.lambdas", "task.class_weights")):
        return True
    return group in ("task", "data", "noise") and key not in _FEEDING
