"""The command line: `imagier VERB key=value ...`; `train.py` and scripts/NAME.py run the same verbs.

Hydra composes the configuration, `configuration` checks it, and only then is torch imported. A user's mistake is
reported as a one-sentence message with an exit code; anything else is a bug and keeps its traceback.
"""

import atexit
import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from imagier.errors import ConfigError, ImagierError, nearest
from imagier.launch import leader, speaker
from imagier.offered import CONF, OWN, own_conf
from imagier.sentence import completed
from imagier.version import __version__

# verb -> (function, what it does)
VERBS = {
    "train": ("imagier.training.run:run", "train, validate, test and report"),
    "evaluate": ("imagier.training.evaluation:run", "evaluate a checkpoint on its own or on other data"),
    "export": ("imagier.exporting:run", "export a checkpoint as a bundle, usable without the training libraries"),
    "predict": ("imagier.predicting:run", "run a bundle or a checkpoint on images"),
    "serve": ("imagier.serving:run", "serve networks over HTTP, with a web page"),
    "compress": ("imagier.coding:compress", "compress images with a trained codec"),
    "decompress": ("imagier.coding:decompress", "decompress files made by compress"),
    "transfer-report": ("imagier.transfer:run", "compare a codec with other formats: size, quality, transfer time"),
    "doctor": ("imagier.doctor:run", "check a data set for broken files and print its facts"),
    "leaderboard": ("imagier.training.leaderboard:run", "compare runs in tables, on a page and in plots"),
    "cache": ("imagier.cache:run", "list the files cached on disk, and clear them"),
}

# verb -> the key of a path that was given without one; `ckpt` for other verbs
_OF_A_BARE_PATH = {"train": "data.root", "doctor": "data.root", "leaderboard": "runs", "cache": "paths.cache"}

# Errors of the file system that a user can fix wherever they occur: permissions, and names that are too long.
_MENDABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


def main(verb: str | None = None) -> None:
    """Run `verb` with the arguments in `sys.argv`; exit with an error's code if it fails.

    Args:
        verb: a key of VERBS; None takes the first argument.
    """
    program, *words = sys.argv
    if verb is None:
        verb, *words = words or ["--help"]
        program = f"imagier {verb}"
    if verb in ("--version", "-V") or "--version" in words:
        print(f"imagier {__version__}")
        sys.exit(0)
    if verb in ("--help", "-h"):
        print(_usage())
        sys.exit(0)
    try:
        with _sentences():
            if verb not in VERBS:
                known = f"the commands are: {', '.join(VERBS)}.{nearest(verb, VERBS)}"
                raise ConfigError(f"'{verb}' is not a command; {known}")
            if leader() or verb == "train":  # only training uses more than one process
                _compose_and_call(verb, program, completed(verb, words))
    except KeyboardInterrupt:
        if leader():
            print("imagier: interrupted", file=sys.stderr)
        sys.exit(130)


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn errors that the user can fix into a message and an exit code."""
    try:
        yield
    except ImagierError as error:
        _say_and_exit(error)
    except BrokenPipeError:
        _end_unread()
    except OSError as error:
        if error.errno not in _MENDABLE or error.filename is None:
            raise
        named = f"{str(error.filename)[:200]} cannot be used: {error.strerror}."
        _say_and_exit(ConfigError(f"{named} Name another path, or fix its permissions."))


def _end_unread() -> NoReturn:
    """Exit as other programs do when the reader of their output closes the pipe, as in `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)


def _say_and_exit(error: ImagierError) -> NoReturn:
    print(f"{speaker()}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def _usage() -> str:
    verbs = "\n".join(f"  {name:<15} {what}" for name, (_, what) in VERBS.items())
    return (
        f"imagier {__version__}: from a folder of images to a trained and evaluated model, with a report.\n\n"
        f"usage: imagier VERB key=value ...\n\n{verbs}\n\n"
        "imagier VERB --help shows the choices and the configuration of a verb.\n"
        "example: imagier train task=segment model=unet data=cityscapes data.root=/data/cityscapes"
    )


def _compose_and_call(verb: str, program: str, words: list[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from imagier.sweeps.words import UnsoundWordsError

    for group in (word.removesuffix("=null") for word in words if word.endswith("=null")):
        if (CONF / group).is_dir():
            from imagier.configuration import choices

            raise ConfigError(f"{group}=null is not allowed; {group} is one of: {', '.join(choices(group))}.")
    _search_own_conf()
    typed, sys.argv = sys.argv, [program, *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors propagate to `_explained`, which rewords them
    job = _job(verb, typed)
    try:
        if not {"--help", "-h"}.isdisjoint(words):
            from imagier.helptext import help_text

            print(help_text(verb, VERBS[verb][1], [word for word in words if not word.startswith("-")]))
        elif verb == "train" and [word for word in words if word.startswith("-")] == ["-m"]:
            from imagier.sweeps.sweep import sweep

            sweep([word for word in words if word != "-m"], job)
        else:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)(_exiting(job))()
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, verb, words) from error
    except UnsoundWordsError as error:
        raise _explained(error.cause, verb, error.words) from error


def _search_own_conf() -> None:
    """Add the user's own configuration folder to Hydra's search path.

    Raises:
        ConfigError: the folder does not exist, or a file in it differs from the file of that name in conf/, which
            would take precedence.
    """
    own = own_conf()
    if own is None:
        return
    if not own.is_dir():
        raise ConfigError(f"{OWN}={own} is not a folder; set it to one laid out like {CONF}, or unset it.")
    for path in own.rglob("*.yaml"):
        ours = CONF / path.relative_to(own)
        if ours.is_file() and ours.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"{OWN}={own} holds {path.relative_to(own)}, but {CONF} has a file of that name, which would be used "
                "instead; rename yours."
            )
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class OwnConf(SearchPathPlugin):
        def manipulate_search_path(self, search_path: Any) -> None:
            """Append it after conf/."""
            if there := own_conf():  # read anew: a process may run several commands
                search_path.append(OWN, f"file://{there}")

    Plugins.instance().register(OwnConf)


def _job(verb: str, typed: list[str]) -> Callable[[Any], Any]:
    def job(cfg: Any) -> Any:
        from imagier.configuration import check

        sys.argv = typed  # the processes of trainer=ddp are started with the same arguments
        check(cfg)
        module, _, function = VERBS[verb][0].partition(":")
        run = getattr(_imported(module), function)
        if verb == "train" and cfg.pretrain is not None:
            from imagier.pretraining import pretrain

            pretrain(cfg, run)
        return run(cfg)

    return job


def _imported(name: str) -> ModuleType:
    """Import a module with garbage collection off: scanning its million objects would take a quarter of the time."""
    if name in sys.modules:  # a later trial of a sweep: freezing now would keep the earlier trial's garbage
        return sys.modules[name]
    gc.disable()
    atexit.register(gc.unfreeze)  # otherwise extensions warn at exit that their types are still alive
    try:
        return import_module(name)
    finally:
        gc.freeze()  # imported objects live until exit, so later collections can skip them
        gc.enable()


def _exiting(job: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def exiting(cfg: Any) -> Any:
        with _sentences():  # here, before Hydra adds its own lines
            return job(cfg)

    return exiting


def _explained(error: Exception, verb: str, words: list[str]) -> ConfigError:
    """Turn an error of Hydra or OmegaConf into one message that lists the choices."""
    from hydra.errors import MissingConfigException, OverrideParseException

    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if place := _place_of_a_path(error.missing_cfg_file):
            return place
        names = [option for option in error.options or () if not option.startswith("_")]
        names = _of_the_task(names, group, words)
        sentence = f"{group}={name} is not known; {group} is one of: {', '.join(names)}.{nearest(name, names)}"
        more = " pip install 'imagier[sweep]' adds joblib, submitit_slurm and submitit_local."
        return ConfigError(sentence + (more if group == "hydra/launcher" and "joblib" not in names else ""))
    if isinstance(error, OverrideParseException):
        word = str(error.override)
        key = _OF_A_BARE_PATH.get(verb, "ckpt")
        if key == "ckpt" and verb == "predict" and any(other.startswith("ckpt=") for other in words):
            key = "source"
        meant = f" Did you mean '{key}={word}'?" if "=" not in word and Path(word).expanduser().exists() else ""
        return ConfigError(
            f"the argument '{word}' cannot be parsed; write key=value, with quotes around spaces.{meant}"
        )
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return ConfigError(
            f"{found[1]} has several values; to try them one after another, add -m; if the comma belongs to the "
            "value, quote it."
        )
    if found := re.search(r"You must specify '([^']+)'", text):
        from imagier.configuration import choices

        group = found[1]
        return ConfigError(f"{group} is not given; {group} is one of: {', '.join(choices(group))}.")
    if found := re.search(r"Could not append to config\. An item is already at '([^']+)", text):
        return ConfigError(f"{found[1]} already exists; write it without a plus: {found[1]}=VALUE.")
    if found := re.search(r"Could not (?:override|delete) '([^'@]+)([^']*)", text):
        if any(word.startswith(f"{found[1]}@") for word in words):
            return ConfigError(f"{found[1]}{found[2]} is not a group of choices; write {found[1]}=CHOICE.")
        return _unknown(found[1], verb, words)
    lines = [line.strip() for line in f"{text}\n{error.__cause__ or ''}".splitlines()]
    return ConfigError(" ".join(line for line in lines if line) or f"the configuration cannot be composed ({error!r})")


def _place_of_a_path(missing: str) -> ConfigError | None:
    """Return an error for data=/my/images or model=net.ckpt, which other programs accept; None for other choices."""
    group, _, given = missing.partition("/")
    if group not in ("data", "model") or not ("/" in given or re.search(r"\.(ckpt|pth?|safetensors|onnx)$", given)):
        return None
    if group == "data":
        return ConfigError(
            f"data={given} is a path, but data=NAME names the layout of the data: use data=photos data.root={given} "
            f"for a folder per class, data=masks data.root={given} for images with masks; docs/data.md lists others."
        )
    return ConfigError(
        f"model={given} is a file, but model=NAME names an architecture. Use model.weights={given} to start from its "
        "weights, resume=RUN to continue a run, or imagier predict ckpt=RUN to run a trained model."
    )


def _of_the_task(names: list[str], group: str, words: list[str]) -> list[str]:
    """Drop the choices that do not support the task given on the command line."""
    from imagier.configuration import choices, fitting

    task = next((word.partition("=")[2] for word in words if word.startswith("task=")), None)
    if task not in choices("task") or not (CONF / group).is_dir():
        return names
    fit = fitting(group, task)
    return [name for name in names if name in fit]


def _unknown(key: str, verb: str, words: list[str]) -> ConfigError:
    """Compose again without the faulty argument, to list the keys that exist in its place."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from imagier.configuration import unknown_key
    from imagier.sweeps.words import first_values

    for group, choice in (("sweep", "sweep=optuna"), ("hydra/launcher", "launcher=joblib or launcher=submitit_slurm")):
        chosen = any(word.startswith(f"{group}=") for word in words)
        if not chosen and key.replace(".", "/").startswith(f"{group}/"):
            return ConfigError(f"{key.removeprefix('hydra.')} has no effect by itself; add {choice}.")
    others = [word for word in words if "=" in word and word.lstrip("+~").split("=")[0] != key]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose(verb, first_values(others))
    except HydraException as another:
        return _explained(another, verb, others)
    return unknown_key(cfg, key)


if __name__ == "__main__":
    main()
