"""`imagier serve`: serve networks over HTTP until a signal stops the server."""

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagier.deploy.bundle import Description, is_bundle, read_bundle
from imagier.deploy.predictor import Predictor
from imagier.errors import ConfigError, DataError
from imagier.opening import load

try:
    import uvicorn

    from imagier.server.app import make_app
    from imagier.server.connections import Impatient
    from imagier.server.limits import Limits
    from imagier.server.nets import Opened
except ImportError as error:
    raise ConfigError(f"{error.name} is not installed; run pip install 'imagier[serve]'.") from error

if TYPE_CHECKING:
    from fastapi import FastAPI
    from omegaconf import DictConfig

    from imagier.batch import Split
    from imagier.datamodules.base import ImageData
    from imagier.server.dataset import Pictures

SPLITS = ("train", "val", "test")
_LOCAL = ("127.0.0.1", "::1", "localhost")
_PATIENCE = 35  # seconds to finish requests after a signal: gradio's heartbeat never ends; compose.yaml waits for 40


def run(cfg: "DictConfig") -> None:
    """Serve the networks `cfg.ckpt` on `cfg.host` and `cfg.port`; return after a signal, once requests are finished.

    Raises:
        ConfigError: a network, data set or address does not exist or cannot be used.
        DataError: the data set cannot be read.
        BundleError, TrainingError: a bundle or a checkpoint is damaged.
    """
    token = cfg.token or os.environ.get("IMAGIER_TOKEN") or None
    limits = Limits(cfg.max_megabytes, cfg.max_megapixels, cfg.queue, cfg.timeout, token)
    opened = [_opened(place, cfg) for place in cfg.ckpt.split(",") if place]
    if not opened:
        raise ConfigError("ckpt is empty: give a bundle, a run folder or a checkpoint, or several separated by commas.")
    _tile(opened, cfg.tile)
    pictures = _pictures(cfg, [one.description for one in opened]) if cfg.get("data") else None
    app = make_app(opened, limits, cfg.batch_size, pictures)
    paged = cfg.page and _with_page(app, limits)
    listening = _listening(cfg.host, cfg.port)
    host, port = listening.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host  # IPv6
    for net in app.state.nets.values():
        print(f"{net.name}: {net.description.task}")
    page = f"page: http://{host}:{port}/page; " if paged else ""
    print(f"http://{host}:{port} ({page}API: http://{host}:{port}/docs)", flush=True)
    if cfg.host not in _LOCAL and token is None:
        print(
            "anyone who can reach this machine can send requests; set IMAGIER_TOKEN=... in the environment to require "
            "a token"
        )
    config = uvicorn.Config(
        app,
        http=Impatient,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_PATIENCE,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _opened(place: str, cfg: "DictConfig") -> Opened:
    options = {key: cfg[key] for key in ("runtime", "precision", "device", "threads")}
    net = load(place, **options)
    folder = Path(place).expanduser()
    if is_bundle(folder):
        return Opened(net.description, net, read_bundle(folder).training())
    from imagier.trained import training_pictures  # torch and Lightning take seconds to import
    from imagier.training.run_folder import find_checkpoint

    return Opened(net.description, net, training_pictures(find_checkpoint(place, prefer="best")))


def _tile(opened: list[Opened], tile: Any) -> None:
    """Set the tile size of those networks that take images of any size."""
    whole = [net.answers for net in opened if isinstance(net.answers, Predictor) and net.answers.takes_any_size]
    if tile != "auto" and not whole:
        raise ConfigError(
            f"tile={tile} is for networks that take images of any size, but none of these networks does. Remove tile."
        )
    for predictor in whole:
        predictor.tile = tile


def _with_page(app: "FastAPI", limits: Limits) -> bool:
    """Mount the page on the application; False if gradio, an optional extra, is not installed."""
    if find_spec("gradio") is None:
        print("no page: gradio is not installed; run pip install 'imagier[page]'")
        return False
    try:
        from imagier.server.page import mount_page
    except OSError as error:
        raise ConfigError(
            f"the page has no folder for uploads: {error}. Set TMPDIR to a writable folder, or turn the page off with "
            "page=false."
        ) from error
    mount_page(app, limits)
    return True


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # from here on, clients wait for the server instead of being refused
    except (OSError, UnicodeError, TypeError) as error:  # the last two for what cannot be a host's name
        raise ConfigError(
            f"host={host} port={port} cannot be listened on: {getattr(error, 'strerror', error)}. Choose another "
            "port=, or 0 for any free one; host= must be an address of this machine."
        ) from error
    return listening


def _pictures(cfg: "DictConfig", nets: list[Description]) -> "Pictures":
    """Open `cfg.data` as the network takes it that was trained on it, or else the first one with the same classes."""
    if cfg.split not in SPLITS:
        raise ConfigError(f"split={cfg.split} is not served; it is one of: {', '.join(SPLITS)}.")
    fitting: list[tuple[bool, Description, ImageData]] = []
    for net in nets:
        if net.task not in cfg.data.get("tasks", [net.task]):
            continue
        try:
            data = _data_for(cfg, net)
        except (ConfigError, DataError):  # this network's data settings do not suit the data set
            continue
        if data.facts.classes == net.classes:
            fitting.append((data.findings.fingerprint == net.provenance.get("data_fingerprint"), net, data))
    if not fitting:
        return _pictures_of(_data_for(cfg, None), cfg.split)
    _, net, data = max(fitting, key=lambda one: one[0])  # max returns the first of equal ones
    pictures = _pictures_of(data, cfg.split)
    print(f"data: {pictures}, for {net.name}")
    return pictures


def _data_for(cfg: "DictConfig", net: Description | None) -> "ImageData":
    from omegaconf import DictConfig, OmegaConf, open_dict

    from imagier import build  # torch and Lightning take seconds to import
    from imagier.keys import is_said

    settings = DictConfig(OmegaConf.to_container(cfg, resolve=True))
    with open_dict(settings):
        meant: dict[str, Any] = {"channels": net.channels, **net.provenance.get("data_settings", {})} if net else {}
        if net and (net.resize or settings.data.get("size") != "auto"):  # `auto` also keeps the images' own size
            meant["size"] = net.resize
        for key, value in meant.items():
            if key in settings.data and not is_said(f"data.{key}"):
                settings.data[key] = value
    return build.data_module(settings, cfg.split)


def _pictures_of(data: "ImageData", split: "Split") -> "Pictures":
    import numpy as np

    from imagier.server.dataset import Pictures

    for note in data.notes:
        print(f"note: {note}")
    loader = data.loader(split)

    def read(place: int) -> tuple[np.ndarray, np.ndarray]:
        batch = loader.pick([place])
        image_HWC = np.ascontiguousarray(batch["image"][0].permute(1, 2, 0).numpy())
        target = batch["target"][0].numpy()
        return image_HWC, target.transpose(1, 2, 0) if target.ndim == 3 else target

    measured = data.stand_ins.get(split, split)
    counts = data.findings.class_counts(measured, data.facts.num_classes)
    return Pictures(data.facts, measured, list(data.sources[split].ids), counts, read)
