"""A nesting of plain Python values and tensors as JSON and named tensors: exact, and with nothing to execute.

JSON holds what it can as it is. The rest is an object with one key that starts with `$`: `{"$tuple": [...]}`,
`{"$dict": [[key, value], ...]}` (integer keys, or keys that start with `$`), `{"$float": "nan"}`,
`{"$tensor": name}`, `{"$complex": name}` (stored as pairs of reals). Tensors that are the same piece of
memory, such as tied weights, are stored once and come back as one tensor; views that overlap in part are
stored each for itself.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from rnntrain.checkpoints.tensor_file import DIMENSIONS_LIMIT, DTYPE_NAMES, TENSORS_LIMIT, check_json_size

DEPTH_LIMIT = 64
INTEGER_LIMIT_BITS = 4096

Path = tuple[str | int, ...]


def encode_tree(tree: dict[Any, Any]) -> tuple[bytes, dict[str, Tensor]]:
    """Return the JSON text of `tree` and its tensors by name, to be written with `tensor_chunks`.

    Raises:
        TypeError: a value cannot be stored; the message names its place in the tree and the conversion.
        ValueError: the part outside the tensors is larger than what `decode_tree` reads.
    """
    if type(tree) not in (dict, OrderedDict):
        raise TypeError(f"a checkpoint holds a dict, not {_kind(tree)}")
    encoder = _Encoder()
    document = encoder.encode(tree, ())
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    check_json_size(text)
    if len(encoder.tensors) > TENSORS_LIMIT:
        raise ValueError(f"holds {len(encoder.tensors):,} tensors; {TENSORS_LIMIT:,} are the limit: join some")
    return text, encoder.tensors


def decode_tree(text: bytes, tensors: dict[str, Tensor]) -> dict[Any, Any]:
    """Return the tree that `encode_tree` took; every tensor must have its place in it.

    Raises:
        ValueError: the text is not one that `encode_tree` writes, or the tensors are not those that it names.
    """
    check_json_size(text)
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"is nested deeper than {DEPTH_LIMIT} levels") from None
    decoder = _Decoder(tensors)
    tree = decoder.decode(document, 0)
    if type(tree) is not dict:
        raise ValueError("does not hold a dict")
    unused = tensors.keys() - decoder.used
    if unused:
        raise ValueError(f"names no place for tensor {min(unused)[:80]!r}")
    return tree


class _Encoder:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[tuple[Any, ...], str] = {}

    def encode(self, value: Any, path: Path) -> Any:
        if len(path) > DEPTH_LIMIT:
            raise TypeError(f"{show_path(path)}: nested deeper than {DEPTH_LIMIT} levels")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind in (dict, OrderedDict):
            return self._dict(value, path)
        if kind in (list, tuple):
            items = [self.encode(item, (*path, index)) for index, item in enumerate(value)]
            return items if kind is list else {"$tuple": items}
        if kind in (str, int, float):
            return _plain(value, path)
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        raise TypeError(f"{show_path(path)}: {_kind(value)} cannot be stored; {_conversion(value)}")

    def _dict(self, value: dict[Any, Any], path: Path) -> Any:
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{show_path(path)}: a key is {_kind(key)}; keys are str or int")
        items = [(_plain(key, path), self.encode(item, (*path, key))) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(items)
        return {"$dict": [list(item) for item in items]}

    def _tensor(self, value: Tensor, path: Path) -> Any:
        _check_tensor(value, path)
        flags = (value.dtype, value.is_conj(), value.is_neg())
        place = (value.device, value.data_ptr(), value.shape, value.stride(), flags)
        name = self.names.get(place) if value.numel() else None
        if name is None:
            name = self._new_name(path)
            self.tensors[name] = _as_real(value.detach()) if value.is_complex() else value
            self.names[place] = name
        return {"$complex" if value.is_complex() else "$tensor": name}

    def _new_name(self, path: Path) -> str:
        """Return the dotted path, as in a state dict; a number keeps the key `a.b` apart from `b` in `a`."""
        name = plain = ".".join(map(str, path))
        number = 1
        while name in self.tensors or name == "__metadata__":
            number += 1
            name = f"{plain}#{number}"
        return name


class _Decoder:
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.complex: dict[str, Tensor] = {}
        self.used: set[str] = set()

    def decode(self, value: Any, depth: int) -> Any:
        """Replace what is tagged, in place: a copy of millions of numbers would double their memory."""
        if depth > 3 * DEPTH_LIMIT:  # a level of the tree is up to three of JSON
            raise ValueError(f"is nested deeper than {DEPTH_LIMIT} levels")
        if type(value) is dict and any(key.startswith("$") for key in value):
            if len(value) != 1:
                raise ValueError(f"has a malformed entry {min(value)[:80]!r}")
            [(tag, content)] = value.items()
            return self._tagged(tag, content, depth)
        if type(value) in (list, dict):
            for key, item in enumerate(value) if type(value) is list else value.items():
                if type(item) in (list, dict):
                    value[key] = self.decode(item, depth + 1)
        return value

    def _tagged(self, tag: str, content: Any, depth: int) -> Any:
        if tag == "$tuple" and isinstance(content, list):
            return tuple(self.decode(content, depth + 1))
        if tag == "$dict" and isinstance(content, list):
            return dict(self._pair(item, depth + 1) for item in content)
        if tag == "$float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if tag in ("$tensor", "$complex") and isinstance(content, str) and content in self.tensors:
            self.used.add(content)
            return self.tensors[content] if tag == "$tensor" else self._complex(content)
        raise ValueError(f"has a malformed or unknown entry {tag[:80]!r}")

    def _pair(self, item: Any, depth: int) -> tuple[str | int, Any]:
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) not in (str, int):
            raise ValueError("has a malformed entry '$dict'")
        return item[0], self.decode(item[1], depth + 1)

    def _complex(self, name: str) -> Tensor:
        pairs = self.tensors[name]
        if pairs.dtype not in (torch.float16, torch.float32, torch.float64) or pairs.shape[-1:] != (2,):
            raise ValueError(f"takes tensor {name[:80]!r} for complex numbers")
        return self.complex.setdefault(name, torch.view_as_complex(pairs))


def show_path(path: Path) -> str:
    """Return a place in the tree as Python would write it."""
    return "tree" + "".join(f"[{key!r}]" for key in path)


def _plain(value: Any, path: Path) -> Any:
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if type(value) is int and value.bit_length() > INTEGER_LIMIT_BITS:
        raise TypeError(f"{show_path(path)}: an integer of more than {INTEGER_LIMIT_BITS} bits cannot be stored")
    if type(value) is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise TypeError(f"{show_path(path)}: a string with lone surrogates cannot be stored") from None
    return value


def _as_real(value: Tensor) -> Tensor:
    return torch.view_as_real(value.resolve_conj().resolve_neg())


def _check_tensor(value: Tensor, path: Path) -> None:
    problem = ""
    if type(value) not in (Tensor, nn.Parameter):
        problem = f"{_kind(value)} is a kind of tensor of its own; convert it to a plain torch.Tensor"
    elif value.layout is not torch.strided or value.device.type == "meta" or value.is_quantized:
        problem = f"a {value.layout} tensor on {value.device} cannot be stored; make it dense"
    elif value.dtype not in DTYPE_NAMES and value.dtype not in (
        torch.complex64,
        torch.complex128,
        torch.complex32,
    ):
        problem = f"dtype {value.dtype} cannot be stored; convert it"
    elif value.dim() >= DIMENSIONS_LIMIT:
        problem = f"a tensor of {value.dim()} dimensions cannot be stored; reshape it"
    if problem:
        raise TypeError(f"{show_path(path)}: {problem}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is not JSON")


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _conversion(value: Any) -> str:
    if type(value).__module__ == "numpy":
        return "use torch.from_numpy(...)" if hasattr(value, "__len__") else "use .item()"
    return "store plain dicts, lists, tuples, numbers, strings and tensors"
