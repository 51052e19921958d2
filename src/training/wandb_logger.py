"""Weights & Biases: online with a key, offline without one; the log says which."""

import logging
import netrc
import os
import warnings
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pytorch_lightning.loggers import WandbLogger

from imagier.errors import ConfigError

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    run_dir: str | Path,
    run_id: str,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    mode: Literal["auto", "online", "offline"] = "auto",
) -> WandbLogger:
    """Make the logger of a run.

    Args:
        run_dir: run folder; W&B writes under run_dir/wandb.
        run_id: W&B's id of the run. Checkpoints store it, so that a resumed run continues its W&B run.
        project: W&B project.
        entity: W&B user or team; None for the key's own.
        group: group of runs, for instance the seeds of one recipe.
        tags: tags of the run.
        mode: auto goes online if there is a key (WANDB_API_KEY, an identity token, or a login), else offline;
            WANDB_MODE=offline, dryrun or disabled takes precedence.

    Raises:
        ConfigError: for mode=online without a key.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # opt-in only
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    run_dir, offline = Path(run_dir), False
    if os.environ.get("WANDB_MODE") == "disabled":  # Lightning's offline would override it
        log.info("W&B is off (WANDB_MODE=disabled)")
    elif offline := _is_offline(mode, _has_key(wandb)):
        log.info(
            "W&B is offline (no key, or offline mode); upload it later: wandb sync %s/wandb/offline-run-*", run_dir
        )
    else:
        log.info("W&B is online: project %s, run %s", project, run_id)
    run_dir.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some wandb releases deprecate their own defaults
        return WandbLogger(
            name=f"{run_dir.parent.name}/{run_dir.name}",
            save_dir=run_dir,
            id=run_id,
            project=project,
            entity=entity,
            group=group,
            tags=list(tags or ()),
            offline=offline,
            resume="allow",
            job_type=run_dir.parent.parent.name,
        )


def _is_offline(mode: str, has_key: bool) -> bool:
    asked = os.environ.get("WANDB_MODE", "online")
    if asked in ("offline", "dryrun"):
        return True
    if mode == asked == "online" and not has_key:
        raise ConfigError(
            "logger.wandb.mode=online, but there is no key; set WANDB_API_KEY or run `wandb login`, or use mode=auto, "
            "which goes offline without one."
        )
    return mode == "offline" or (mode == "auto" and not has_key)


def _has_key(wandb: object) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(wandb.Settings().base_url).hostname  # type: ignore[attr-defined]
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False
