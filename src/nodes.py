"""Call configuration nodes: a node's `_target_` with its other keys. Errors name the node's place."""

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

RESERVED = frozenset({"_target_", "tasks"})  # keys of a node that are not passed to its target
_PLAIN = {bool, int, float, str, type(None)}  # types that command-line values can have
_SAID_TO_HYDRA = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_"})


def call(
    node: DictConfig | Mapping[str, Any], where: str, extra: Mapping[str, Any], leave_out: frozenset[str] = frozenset()
) -> Any:
    """Call `node._target_` with the node's keys, and with those of `extra` that its signature accepts.

    Args:
        node: a configuration node.
        where: the node's place in the configuration, for error messages.
        extra: values that imagier provides; None is left to the parameter's default, if it has one.
        leave_out: keys of the node that are not passed to the target.

    Raises:
        ConfigError: the target or an argument does not exist, or the target rejects an argument. A TypeError from
            deeper inside the target is a bug and propagates.
    """
    target = target_of(node, where)
    accepted, open_ended = parameters_of(target)
    given = {str(key): node[key] for key in list(node) if key not in RESERVED | leave_out}
    if not open_ended:
        refuse_unknown(where, target, given, [name for name in accepted if name not in extra])
    known = {key: value for key, value in extra.items() if key in accepted or open_ended}
    # Do not pass None over a default, which may be another value.
    known = {key: value for key, value in known.items() if value is not None or not _has_default(accepted.get(key))}
    try:
        return target(**{key: call_nested(value, f"{where}.{key}") for key, value in given.items()}, **known)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError):
            _refuse_other_types(where, target, given, accepted, error)
        below = error.__traceback__ and error.__traceback__.tb_next
        if below is None or (isinstance(error, TypeError) and below.tb_next is None):  # from the call or the target
            raise ConfigError(f"{where} does not fit {target.__name__}: {error}") from error
        if isinstance(error, ValueError):
            raise ConfigError(f"{where} was rejected by {target.__name__}: {error}") from error
        raise


def _has_default(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is not inspect.Parameter.empty


def _refuse_other_types(
    where: str, target: Any, given: Mapping[str, Any], accepted: Mapping[str, inspect.Parameter], error: TypeError
) -> None:
    """Raise ConfigError if a value has another type than its parameter, such as text for a number."""
    for key, value in given.items():
        kind = accepted[key].annotation if key in accepted else inspect.Parameter.empty
        if not set(get_args(kind) or (kind,)) <= _PLAIN or not isinstance(value, bool | int | float | str):
            continue
        meant = (value, float(value)) if type(value) is int else (value,)  # a float parameter accepts 1
        with suppress(TypeError):  # isinstance does not support list[int] and the like
            if not any(isinstance(one, kind) for one in meant):
                wanted = inspect.formatannotation(kind)
                raise ConfigError(
                    f"{where}.{key}={value} does not fit {target.__name__}, whose {key} is {wanted}."
                ) from error


def parameters_of(target: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters that `target` takes by name, and whether it accepts any other name.

    Where a class takes **kwargs, the parameters of its base classes are included.
    """
    named: dict[str, inspect.Parameter] = {}
    makers = [target]
    if inspect.isclass(target):
        # These two declare **kwargs but accept none.
        owners = (owner for owner in target.__mro__ if owner not in (torch.nn.Module, object))
        makers = [vars(owner)["__init__"] for owner in owners if "__init__" in vars(owner)]
    for maker in makers:
        parameters = list(inspect.signature(maker).parameters.values())
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
        by_name = (one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))
        named |= {one.name: one for one in by_name if one.name not in {"self", *named}}  # a subclass's own win
        if not open_ended:
            return named, False
    return named, bool(makers)


def target_of(node: DictConfig | Mapping[str, Any], where: str) -> Any:
    """Return the object that `node._target_` names. Raises ConfigError if it cannot be imported or called."""
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
    """Import a module. Its code may raise anything, which is raised again as a ConfigError."""
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
    """Return `value` with every node that has a `_target_` replaced by its result. Raises ConfigError on failure."""
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
    """Raise ConfigError for an unknown argument in a nested node; Python's own message would not name the nearest."""
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
    """Raise ConfigError with the nearest name if one of `given` is not in `names`, the arguments of `target`."""
    if unknown := [key for key in given if key not in names]:
        raise ConfigError(
            f"{where}.{unknown[0]} is unknown to {target.__name__}; it takes: {', '.join(names)}."
            f"{nearest(unknown[0], names)}"
        )


def plain(node: DictConfig) -> dict[str, Any]:
    """Return the node as dictionaries, lists and plain values, with interpolations resolved."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
