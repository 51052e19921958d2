"""`imagier doctor`: check a whole data set before training on it."""

from omegaconf import DictConfig, OmegaConf, open_dict

from imagier import build
from imagier.datamodules.diagnosis import report
from imagier.errors import DataError


def run(cfg: DictConfig) -> None:
    """Print splits, sizes, class frequencies with ready-to-paste weights, and every faulty file.

    Raises:
        DataError: some samples are faulty, or there are none.
    """
    settings = DictConfig(OmegaConf.to_container(cfg, resolve=True))
    with open_dict(settings):
        settings.data.on_error = "skip"  # report all faults instead of stopping at the first
        settings.data.decode_once = False  # a check should not leave gigabytes in the cache
    data = build.data_module(settings)
    print(report(data))
    if bad := len(data.findings.problems):
        samples = "sample" if bad == 1 else "samples"
        raise DataError(f"{bad} {samples} cannot be used; fix or remove them, or train with data.on_error=skip.")
