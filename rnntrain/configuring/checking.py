"""Check values against the annotations of the constructor or dataclass that takes them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from rnntrain.errors import UserError, closest
from rnntrain.ranges import Range

LARGEST = 2**63  # what torch takes for a whole number lies below
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def check_arguments(
    section: str,
    constructor: Callable[..., Any],
    values: Mapping[str, Any],
    supplied: tuple[str, ...] = (),
    sections: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return `values` converted to the types that `constructor` declares.

    Args:
        section: the place in the config, for messages; empty for the top level.
        supplied: arguments that the program gives; the user may not.
        sections: what else stands there, checked apart; for messages.

    Raises:
        UserError: for an unknown or missing key, a wrong type, or a value out of its range.
    """
    parameters = _parameters(constructor)
    free = {name: p for name, p in parameters.items() if name not in supplied}
    hints = _type_hints(constructor)
    checked = {}
    for name, value in values.items():
        key = f"{section}.{name}" if section else name
        if name in supplied or not accepts(constructor, name):
            raise UserError(_unknown_key(key, section, name, [*free, *sections]))
        checked[name] = check_value(key, hints.get(name, Any), value)
    for name, parameter in free.items():
        if name not in values and parameter.default is parameter.empty and _is_named(parameter):
            raise UserError(f"{section}.{name}: missing; set {section}.{name}=…")
    return checked


def accepts(constructor: Callable[..., Any], name: str) -> bool:
    """Say whether a constructor takes an argument of this name, if only because it takes any."""
    parameters = _parameters(constructor)
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def parameters_of(constructor: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Return annotation and default of each argument of a constructor; `inspect.Parameter.empty` where it has none."""
    hints = _type_hints(constructor)
    named = {name: p for name, p in _parameters(constructor).items() if _is_named(p)}
    # A dataclass shows a marker where a default is made anew for each object.
    made = {f.name: f.default_factory() for f in _fields(constructor) if f.default_factory is not dataclasses.MISSING}
    return {name: (hints.get(name, Any), made.get(name, parameter.default)) for name, parameter in named.items()}


def _fields(constructor: Callable[..., Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(constructor) if dataclasses.is_dataclass(constructor) else ()


def _unknown_key(key: str, section: str, name: str, known: list[str]) -> str:
    hint = closest(name, known)
    where = f"{section} has" if section else "there are"
    return f"{key}: no such key{hint}; {where}: {', '.join(sorted(known)) or 'no keys'}"


def _parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(constructor).parameters.items() if p.kind is not p.VAR_POSITIONAL}


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


def _type_hints(constructor: Callable[..., Any]) -> dict[str, Any]:
    declares = constructor if not inspect.isclass(constructor) else constructor.__init__
    try:
        hints = get_type_hints(declares, include_extras=True)
        if inspect.isclass(constructor) and not hints:
            hints = get_type_hints(constructor, include_extras=True)
    except (NameError, TypeError):  # a user's own class may use names that exist for its type checker alone
        return {}
    return hints


def check_value(key: str, annotation: Any, value: Any) -> Any:
    """Return `value` as the annotated type.

    Whole numbers may be written as 1e4; nothing else is converted, and every number is finite.

    Raises:
        UserError: names key, value and what is expected.
    """
    matched, result = _match(annotation, value)
    if matched:
        return result
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value}: is no finite number; give one")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise UserError(f"{key}={shown(value)}: is too large; give a number below {LARGEST}")
    hint = ""
    if isinstance(value, str):
        hint = closest(value, [str(choice) for choice in choices_of(annotation)])
    elif str in get_args(annotation) or annotation is str:
        hint = f"; to make it one, quote it: {key}=\"'{shown(value)}'\""
    raise UserError(f"{key}={shown(value)}: expected {describe_type(annotation)}{hint}")


def _match(annotation: Any, value: Any) -> tuple[bool, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return not (isinstance(value, float) and not math.isfinite(value)), value
    if annotation is None or annotation is type(None):
        return value is None, value
    if origin is Annotated:
        return _match_annotated(arguments, value)
    if origin in (Union, types.UnionType):
        results = (_match(option, value) for option in arguments)
        return next((result for result in results if result[0]), (False, value))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments), value
    if origin in (list, tuple):
        return _match_sequence(origin, arguments, value)
    if annotation in (int, float, bool, str):
        return _match_plain(annotation, value)
    # What the config cannot express (a tensor among an optimizer's types, say) is left to the constructor itself.
    return not isinstance(annotation, type) or isinstance(value, annotation), value


def _match_annotated(arguments: tuple[Any, ...], value: Any) -> tuple[bool, Any]:
    matched, result = _match(arguments[0], value)
    ranges = [extra for extra in arguments[1:] if isinstance(extra, Range)]
    return matched and all(extra.holds(result) for extra in ranges), result


def _match_sequence(origin: type, arguments: tuple[Any, ...], value: Any) -> tuple[bool, Any]:
    if not isinstance(value, (list, tuple)):
        return False, value
    fixed = origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis)
    kinds = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
    if len(kinds) != len(value):
        return False, value
    results = [_match(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return all(matched for matched, _ in results), origin(item for _, item in results)


def _match_plain(kind: type, value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool):
        return kind is bool, value
    if isinstance(value, (int, float)) and not (abs(value) < LARGEST if kind is int else math.isfinite(value)):
        return False, value
    if kind is int and isinstance(value, float) and value.is_integer():
        return True, int(value)
    if kind is float and isinstance(value, int):
        return True, float(value)
    return type(value) is kind, value


def choices_of(annotation: Any) -> list[Any]:
    """Return the values that an annotation names one by one."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [choice for option in get_args(annotation) for choice in choices_of(option)]
    return []


def describe_type(annotation: Any) -> str:
    """Return an annotation in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [str(extra) for extra in arguments[1:] if isinstance(extra, Range)]
        return " ".join([describe_type(arguments[0]), *bounds])
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(option) for option in arguments)
    if origin is Literal:
        return " or ".join(str(choice) for choice in arguments)
    if origin is list:
        return f"a list [{describe_type(arguments[0]) if arguments else ''}, …]"
    if origin is tuple:
        return f"a list [{', '.join('…' if a is Ellipsis else describe_type(a) for a in arguments)}]"
    if annotation is type(None):
        return "null"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def shown(value: Any) -> str:
    """Return a value as the config writes it, cut to fit into a line and kept on it."""
    words = {"None": "null", "True": "true", "False": "false"}
    try:
        text = str(list(value)) if isinstance(value, tuple) else words.get(str(value), str(value))
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = "a number of thousands of digits"
    text = text if len(text) <= 60 else text[:57] + "…"
    return text.replace("\n", "\\n")
