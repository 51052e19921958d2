"""A node of the configuration with a `_target_`, called with its other keys: its errors name the node's place in it."""

import inspect
import pkgutil
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, get_args

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from imagier.errors import ConfigError, ImagierError, nearest

RESERVED = frozenset({"_target_", "tasks"})  # said about a choice, not to its constructor
_PLAIN = {bool, int, float, str, type(None)}  # what words become
_SAID_TO_HYDRA = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_"})


def call(
    node: DictConfig | Mapping[str, Any], where: str, extra: Mapping[str, Any], leave_out: frozenset[str] = frozenset()
) -> Any:
    """Call `node._target_` with the node's keys, and with those of `extra` that its signature names.

    Args:
        node: a configuration node.
        where: the node's place in the configuration, for errors.
        extra: what the house knows.
        leave_out: keys of the node that are not meant for the constructor.

    Raises:
        ConfigError: for a target or an argument that does not exist, or whatever the constructor refuses.
    """
    target = target_of(node, where)
    accepted, open_ended = parameters_of(target)
    given = {str(key): node[key] for key in list(node) if key not in RESERVED | leave_out}
    if not open_ended:
        refuse_unknown(where, target, given, [name for name in accepted if name not in extra])
    known = {key: value for key, value in extra.items() if key in accepted or open_ended}
    # What is not known is left to a default, which need not be None.
    known = {key: value for key, value in known.items() if value is not None or not _has_default(accepted.get(key))}
    try:
        return target(**{key: call_nested(value, f"{where}.{key}") for key, value in given.items()}, **known)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError):
            _refuse_other_types(where, target, given, accepted, error)
        below = error.__traceback__ and error.__traceback__.tb_next
        if below is None or (isinstance(error, TypeError) and below.tb_next is None):  # by the call, or its first lines
            raise ConfigError(f"{where} does not fit {target.__name__}: {error}") from error
        if isinstance(error, ValueError):
            raise ConfigError(f"{where} was rejected by {target.__name__}: {error}") from error
        raise


def _has_default(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is not inspect.Parameter.empty


def _refuse_other_types(
    where: str, target: Any, given: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], error: TypeError
) -> None:
    """Raise ConfigError where a word stands for a number, or the like; a call that fails otherwise has a bug."""
    for key, value in given.items():
        kind = accepted[key].annotation if key in accepted else inspect.Parameter.empty
        if not set(get_args(kind) or (kind,)) <= _PLAIN or not isinstance(value, bool | int | float | str):
            continue
        meant = (value, float(value)) if type(value) is int else (value,)  # 1 is a fraction as well
        with suppress(TypeError):  # of list[int] and its like nothing is an instance
            if not any(isinstance(one, kind) for one in meant):
                wanted = inspect.formatannotation(kind)
                raise ConfigError(
                    f"{where}.{key}={value} does not fit {target.__name__}, whose {key} is {wanted}."
                ) from error


def parameters_of(target: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """The arguments that `target` takes by name, those it hands on to base classes included; and whether any other."""
    named: dict[str, inspect.Parameter] = {}
    makers = [target]
    if inspect.isclass(target):
        # These two say **kwargs, and take none.
        owners = (owner for owner in target.__mro__ if owner not in (torch.nn.Module, object))
        makers = [vars(owner)["__init__"] for owner in owners if "__init__" in vars(owner)]
    for maker in makers:
        parameters = list(inspect.signature(maker).parameters.values())
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
        by_name = (one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))
        named |= {one.name: one for one in by_name if one.name != "self"}
        if not open_ended:
            return named, False
    return named, bool(makers)


def target_of(node: DictConfig | Mapping[str, Any], where: str) -> Any:
    """Return what `node._target_` names. Raises ConfigError, with `where`, if it cannot be imported or called."""
    if node.get("_target_") is None:
        raise ConfigError(
            f"{where} does not say what to call; add `_target_: NAME`, the full name of a class or function."
        )
    name = str(node["_target_"])
    target, path = None, ""
    for part in name.split("."):
        path, above = f"{path}.{part}" if path else part, target
        target = getattr(above, part, None)
        if target is None and (above is None or isinstance(above, ModuleType)):
            target = _imported(path, f"{where}._target_={name}", part, above)
        elif target is None:
            raise _unfound(f"{where}._target_={name}", part, above)
    if not callable(target):
        raise ConfigError(f"{where}._target_={name} is a {type(target).__name__}; name a class or function in it.")
    return target


def _imported(path: str, said: str, part: str, above: ModuleType | None) -> Any:
    """The module of this name, whose file may be at fault in any way."""
    try:
        return import_module(path)
    except (ImagierError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise ConfigError(f"{said} cannot be imported: {error.msg} ({where}).") from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == path:
            raise _unfound(said, part, above) from error
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
        where = f"{type(error).__name__}, {frames[-1].filename}, line {frames[-1].lineno}"
        raise ConfigError(f"{said} cannot be imported: {error} ({where}).") from error


def _unfound(said: str, part: str, above: Any) -> ConfigError:
    if above is None:
        return ConfigError(f"{said} cannot be imported: there is no module {part}; install it, or set PYTHONPATH.")
    modules = [one.name for one in pkgutil.iter_modules(getattr(above, "__path__", []))]
    kind = "module" if isinstance(above, ModuleType) else "class"
    names = [*modules, *(name for name in vars(above) if not name.startswith("_"))]
    return ConfigError(f"{said} cannot be imported: {kind} {above.__name__} has no {part}.{nearest(part, names)}")


def call_nested(value: Any, where: str) -> Any:
    """Return `value`, with every node in it that has a `_target_` called. Raises ConfigError where that fails."""
    if not OmegaConf.is_config(value):
        return value
    _refuse_misspelt(value, where)
    try:
        return instantiate(value, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ImagierError):
            raise cause from error
        raise ConfigError(f"{where} cannot be built: {' '.join(str(cause or error).split())}") from error


def _refuse_misspelt(value: Any, where: str) -> None:
    """Name the nearest argument, which Python's own words for it do not."""
    if isinstance(value, ListConfig):
        for place, item in enumerate(value):
            _refuse_misspelt(item, f"{where}[{place}]")
    elif isinstance(value, DictConfig):
        if "_target_" in value:
            target = target_of(value, where)
            accepted, open_ended = parameters_of(target)
            given = [str(key) for key in value if key not in _SAID_TO_HYDRA]
            if not open_ended:
                refuse_unknown(where, target, given, list(accepted))
        for key, item in value.items():
            _refuse_misspelt(item, f"{where}.{key!s}")


def refuse_unknown(where: str, target: Any, given: Iterable[str], names: list[str]) -> None:
    """Raise ConfigError with the nearest name if one of `given` is none of `names`, the arguments of `target`."""
    if unknown := [key for key in given if key not in names]:
        raise ConfigError(
            f"{where}.{unknown[0]} is unknown to {target.__name__}; it takes: {', '.join(names)}."
            f"{nearest(unknown[0], names)}"
        )


def plain(node: DictConfig) -> dict[str, Any]:
    """The node as dictionaries, lists and plain values."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
