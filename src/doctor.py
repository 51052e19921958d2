"""`imagier doctor`: look through a whole data set before training on it."""

from omegaconf import DictConfig, OmegaConf, open_dict

from imagier import build
from imagier.datamodules.diagnosis import report
from imagier.errors import DataError


def run(cfg: DictConfig) -> None:
    """Print splits, sizes, class frequencies with ready-to-paste weights, and every file that is at fault.

    Raises:
        DataError: when samples are at fault, or when there is nothing to look at.
    """
    settings = DictConfig(OmegaConf.to_container(cfg, resolve=True))
    with open_dict(settings):
        settings.data.on_error = "skip"  # name them all instead of stopping at the first
        settings.data.decode_once = False  # a look leaves no gigabytes behind
    data = build.data_module(settings)
    print(report(data))
    if bad := len(data.findings.problems):
        samples = "sample" if bad == 1 else "samples"
        raise DataError(f"{bad} {samples} cannot be used; fix or remove them, or train with data.on_error=skip.")
