"""Turn command-line arguments into Hydra overrides: quote paths, bracket lists, and add what is implied."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from imagier.errors import ConfigError
from imagier.offered import CONF

_PATHS = (
    *("data.root", "data.cache", "paths.runs", "paths.cache", "model.weights"),
    *("ckpt", "resume", "output", "runs", "source"),
)
_NUMBER = re.compile(r"[+-]?(\d[\w.+-]*|\.\d+|inf|nan)", re.IGNORECASE)  # Hydra parses it as a number unless quoted
_PLAIN = re.compile(r"[\w/.:*?@$|+\\-]*", re.ASCII)
_TOGETHER = ("ckpt", "source", "output")
_LISTS = {"export": "formats|precision", "predict": "scales", "transfer-report": "rates", "cache": "clear"}
_MAY_BE_OFF = {"sweep", "experiment", "debug", "data", "hydra/launcher"}  # groups that are off unless chosen
_EXAMPLES = {"train": "task=segment", "doctor": "data=streets"}  # for --help


def completed(verb: str, words: Sequence[str]) -> list[str]:
    """Return the arguments as Hydra can parse them, after those that a resumed run was started with.

    Args:
        verb: the verb of the command line.
        words: its arguments.

    Raises:
        ConfigError: `resume` is not a run folder or a checkpoint in one, or `launcher` is given without a sweep.
    """
    words = [_quoted(word, sweeps=verb == "train") for word in words]
    if verb in ("compress", "decompress", "transfer-report"):
        words = _with_sources(words)
    if verb == "train":
        words = _words_of_a_sweep(words)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if verb == "train" and given.get("resume", "null") != "null":
        again = {_key(word) for word in words if not word.startswith("~")}  # Hydra refuses +key=value given twice
        words = [*(word for word in _saved_words(_unquoted(given["resume"])) if _key(word) not in again), *words]
    if not {"--help", "-h"}.isdisjoint(words) and verb in _EXAMPLES and _EXAMPLES[verb].split("=")[0] not in given:
        words = [_EXAMPLES[verb], *words]  # without this choice no configuration can be composed
    if verb in _LISTS:  # Hydra would take a,b for a sweep over two values
        words = [re.sub(rf"^({_LISTS[verb]})=([\w,.-]+)$", r"\1=[\2]", word) for word in words]
    if verb in ("evaluate", "export") and "data" not in given:
        # No data set is composed here, since the checkpoint names its own: add keys instead of overriding them.
        words = [f"++{word}" if word.startswith("data.") else word for word in words]
    # Hydra has no group=null: here it cancels earlier arguments for that group.
    off = {word.removesuffix("=null") for word in words if word.endswith("=null") and (CONF / word[:-5]).is_dir()}
    chosen = {word.split("=")[0] for word in words if "=" in word and not word.endswith("=null")}
    if given.get("task") != "denoise" and "experiment" not in given:
        chosen.add("noise")  # it is null already
    off &= chosen | _MAY_BE_OFF  # the remaining group=null stay, and cli refuses them
    return [word for word in words if word.split("=")[0] not in off]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _with_sources(words: Sequence[str]) -> list[str]:
    """Turn arguments that are neither key=value nor options into source=[...]."""
    named = [word for word in words if word == "-" or ("=" not in word and not word.startswith("-"))]
    if not named:
        return list(words)
    quoted = ",".join("'" + word.replace("'", "\\'") + "'" for word in named)
    return [word for word in words if word not in named] + [f"source=[{quoted}]"]


def _words_of_a_sweep(words: list[str]) -> list[str]:
    """Expand `launcher` to hydra/launcher, and put `-m` first for -m, --multirun or sweep=NAME."""
    words = [re.sub(r"^launcher(?==)", "hydra/launcher", word) for word in words]
    words = [re.sub(r"^launcher(?=\.)", "hydra.launcher", word) for word in words]
    others = [word for word in words if word not in ("-m", "--multirun")]
    swept = others != words or any(re.match("sweep=(?!null)", word) for word in words)
    if not swept and any(re.match("hydra/launcher=(?!null)", word) for word in words):
        raise ConfigError("launcher=... runs several trainings: add -m and a key with several values, or sweep=optuna.")
    return ["-m", *others] if swept else words


def _quoted(word: str, sweeps: bool) -> str:
    """Quote a value for Hydra's grammar where needed, and expand ~ in paths.

    A path may contain spaces, brackets and umlauts, or look like a number; a token may be `true`.
    """
    key, equals, value = word.partition("=")
    several = sweeps and key not in _TOGETHER  # a comma separates the values of a sweep
    if key == "data.root" and sweeps and value != "null" and re.match(r"[^,$'\"]+$", value):
        value = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 - so that the run can be resumed from anywhere
        word = f"{key}={value}"
    if key == "model.weights" and (run := Path(os.path.expanduser(value)) / "checkpoints").is_dir():  # noqa: PTH111
        value = str(run.resolve().parent)  # runs/latest is another run after this one
        word = f"{key}={value}"
    if key == "token" and re.fullmatch(r"[\w.+-]+", value) and value != "null":
        return f"token='{value}'"
    plain = _PLAIN.fullmatch(value.replace(",", "") if several else value) and not _NUMBER.fullmatch(value)
    if key not in _PATHS or plain or value[:1] in "'\"":
        return word
    place = os.path.expanduser(value)  # noqa: PTH111 - the result must be a string
    if place.startswith("~"):  # a file name, not a home directory
        place = os.path.abspath(place)  # noqa: PTH100
    escaped = place.replace("'", "\\'")
    return f"{key}{equals}'{escaped}'"


def _unquoted(value: str) -> str:
    return value[1:-1].replace("\\'", "'") if value[:1] == value[-1:] == "'" else value


def _saved_words(resume: str) -> list[str]:
    """Read the saved arguments of the run that `resume` names: a run folder or a checkpoint in one."""
    place = Path(resume).expanduser()
    if not place.exists():
        raise ConfigError(f"resume={resume} does not exist; name a run folder, such as runs/latest, or a checkpoint.")
    folder = place if place.is_dir() else place.resolve().parent.parent
    saved = folder / "overrides.txt"
    if not saved.is_file():
        raise ConfigError(
            f"resume={resume}: there is no {saved}; name a run folder (runs/latest is the newest) or a checkpoint in "
            "one."
        )
    return saved.read_text(encoding="utf-8").splitlines()
