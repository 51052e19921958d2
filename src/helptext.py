"""The text of `--help`: every key with its value and the comment from its configuration file."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from imagier.configuration import choices
from imagier.offered import CONF


def help_text(verb: str, what: str, words: list[str]) -> str:
    """Compose the configuration and return it with its comments, the usage and the choices of each group.

    Hydra's own help would read every file of every group, which takes twice as long as everything else.

    Args:
        verb: the verb of the command line.
        what: what it does, in a few words.
        words: its arguments, without options.
    """
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(verb, words, return_hydra_config=True)
    chosen = cfg.hydra.runtime.choices
    written = (CONF / f"{verb}.yaml").read_text(encoding="utf-8")
    groups = [path.relative_to(CONF).as_posix() for path in sorted(CONF.rglob("*")) if path.is_dir()]
    if verb != "train":
        groups = [group for group in groups if re.search(rf"^  - (override )?/?{group}:", written, re.MULTILINE)]
    listed = [f"{group}: {', '.join(choices(group))}" for group in groups if group != "local"]
    usage = (
        written.splitlines()[0].removeprefix("# ") if verb != "train" else "imagier train group=choice key=value ..."
    )
    shown = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    return (
        f"imagier {verb}: {what}.\n\nusage: {usage}\n\n"
        + ("== Choices ==\n" + "\n".join(listed) + "\n\n" if listed else "")
        + f"== Configuration (set anything with key=value) ==\n{_commented(shown, _known(written, chosen))}\n"
        "imagier --help lists all commands."
    )


def _commented(shown: str, known: Mapping[str, str]) -> str:
    lines = shown.splitlines()
    for place, key, _ in _keys(shown):
        lines[place] += f" # {known[key]}" if key in known else ""
    return "\n".join(lines) + "\n"


def _known(written: str, chosen: DictConfig) -> dict[str, str]:
    """Map dotted keys to their comments in the verb's file and in the files of the chosen groups."""
    known = _comments(written, "")
    for group, choice in chosen.items():
        path = CONF / str(group) / f"{choice}.yaml"
        if choice and path.is_file() and str(group).split("/")[0] not in ("experiment", "debug", "hydra"):
            known |= _of_choice(path, str(group).replace("/", "."))
    return known


def _of_choice(path: Path, group: str) -> dict[str, str]:
    written = path.read_text(encoding="utf-8")
    known: dict[str, str] = {}
    if bases := re.search(r"^defaults: \[(.*)\]", written, re.MULTILINE):
        for base in re.findall(r"\w+", bases[1]):
            inherited = path.with_name(f"{base}.yaml")
            known |= _of_choice(inherited, group) if inherited.is_file() and inherited != path else {}
    return known | _comments(written, "" if written.startswith("# @package _global_") else f"{group}.")


def _comments(written: str, prefix: str) -> dict[str, str]:
    return {f"{prefix}{key}": comment for _, key, comment in _keys(written) if comment}


def _keys(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line index, dotted key and comment of every key, in YAML as conf/ and OmegaConf write it."""
    above: list[tuple[int, str]] = []
    for place, line in enumerate(text.splitlines()):
        if found := re.match(r"( *)(\w+):(?: |$)", line):
            depth = len(found[1])
            above = [*(one for one in above if one[0] < depth), (depth, found[2])]
            yield place, ".".join(name for _, name in above), line.partition(" # ")[2]
