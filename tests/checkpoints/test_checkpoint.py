"""A checkpoint is whole or not there, comes back to the bit, and nothing damaged or hostile is taken for one."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import shutil
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import (
    CheckpointError,
    CheckpointWriteError,
    checkpoint_name,
    find_checkpoints,
    latest_valid,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from rnntrain.checkpoints.generators import capture_generators, restore_generators
from rnntrain.checkpoints.manifest import MANIFEST, STATE, TENSORS, Manifest
from rnntrain.checkpoints.retention import BEST, best_checkpoint, mark_best, read_best, rotate
from rnntrain.checkpoints.state_tree import decode_tree, encode_tree
from rnntrain.checkpoints.tensor_file import DTYPES, read_tensors, tensor_chunks

FILES = (TENSORS, STATE, MANIFEST)


def same(a: Any, b: Any) -> bool:
    """Equality to the bit, types and order of keys included."""
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        bytes_a, bytes_b = (t.detach().resolve_conj().contiguous().view(-1).view(torch.uint8) for t in (a, b))
        return torch.equal(bytes_a, bytes_b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(k) is type(j) for k, j in zip(a, b, strict=True)) and all(
            same(a[key], b[key]) for key in a
        )  # fmt: skip
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
    return bool(a == b)


def small_tree(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(5, 7, generator=generator)
    return {
        "model": {"embedding.weight": weight, "head.weight": weight, "head.bias": torch.ones(3, dtype=torch.int8)},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step)), "exp_avg": weight * 2}}, "betas": (0.9, 0.999)},
        "step": step,
        "best": float("inf"),
        "vocabulary": {"<unk>": 0, "héllo": 1, "$": 2},
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call no real fsync: what is tested is which calls are made in which order; the disk only makes them slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def save(folder: Path, step: int, tree: dict[str, Any] | None = None) -> Path:
    return save_checkpoint(folder, checkpoint_name(step), tree or small_tree(step))


def round_trip(folder: Path, tree: dict[str, Any]) -> dict[Any, Any]:
    return load_checkpoint(save_checkpoint(folder, checkpoint_name(1), tree))


def refusal(path: Path) -> str:
    """Return the line with which both reading and verifying refuse a checkpoint."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "; " in line  # what is wrong; the fix
    return line


# --- what comes back


def test_plain_values_come_back_to_the_bit(folder: Path) -> None:
    tree = {
        "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"), 1.0],
        "integers": [0, -1, 2**63, -(2**200), True, False, None],
        "texts": ["", "a\nb\0", "日本語 😀", "$tensor", '"'],
        "tuples": ((), (1, (2, [3, ()])), []),
        "keys": {0: "zero", "0": "text", -5: (), "$tuple": [1], "": {}},
        "dollar": {"$tensor": "model"},
        "empty": {},
    }
    assert same(round_trip(folder, tree), tree)


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.complex64, torch.complex128], ids=str)
def test_tensors_of_every_dtype_come_back(folder: Path, dtype: torch.dtype) -> None:
    raw = torch.randint(0, 256, (24 * dtype.itemsize,), dtype=torch.uint8)
    values = (raw > 100) if dtype is torch.bool else raw.view(dtype)
    values = values[:24]
    tree = {"flat": values, "matrix": values.view(2, 3, 4).clone(), "scalar": values[5].clone(), "empty": values[:0]}
    tree["shape"] = values[:0].view(3, 0, 2)
    assert same(round_trip(folder, tree), tree)


def test_views_come_back_contiguous_and_equal(folder: Path) -> None:
    base = torch.arange(24.0).view(4, 6)
    tree: dict[str, Any] = {
        "transposed": base.t(),
        "strided": base[::2, 1::2],
        "expanded": torch.ones(1).expand(3, 4),
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "negated": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        "parameter": nn.Parameter(base.clone()),
        "rows": [base[0], base[1]],
    }
    back = round_trip(folder, tree)
    assert all(torch.equal(back[key], tree[key]) for key in tree if key != "rows")
    assert torch.equal(back["rows"][1], base[1])
    assert not back["parameter"].requires_grad
    assert all(back[key].is_contiguous() and back[key].data_ptr() % 64 == 0 for key in tree if key != "rows")


def random_tree(draw: random.Random, depth: int) -> Any:
    if depth and draw.random() < 0.7:
        items = [random_tree(draw, depth - 1) for _ in range(draw.randrange(5))]
        keys: list[Any] = [draw.choice(["a", "b.c", "$x", "", "__metadata__", draw.randrange(-3, 9)]) for _ in items]
        return draw.choice([items, tuple(items), dict(zip(keys, items, strict=True))])
    return draw.choice(
        [
            None,
            draw.random() < 0.5,
            draw.randrange(-(10**30), 10**30),
            struct.unpack("d", draw.randbytes(8))[0],
            "".join(chr(draw.randrange(1, 0xD800)) for _ in range(draw.randrange(6))),
            torch.tensor(list(draw.randbytes(draw.randrange(9))), dtype=torch.uint8),
            torch.tensor(draw.random(), dtype=draw.choice([torch.float64, torch.bfloat16, torch.float32])),
        ]
    )


def test_random_trees_come_back_to_the_bit() -> None:
    draw = random.Random(6)
    for _ in range(400):
        tree = {"root": random_tree(draw, 5), "more": random_tree(draw, 3)}
        text, tensors = encode_tree(tree)
        data = torch.tensor(list(b"".join(bytes(chunk) for chunk in tensor_chunks(tensors))), dtype=torch.uint8)
        assert same(decode_tree(text, read_tensors(data)), tree)


def test_names_that_would_collide_are_kept_apart(folder: Path) -> None:
    tree = {
        "a.b": torch.tensor(1),
        "a": {"b": torch.tensor(2), "b#2": torch.tensor(3)},
        "__metadata__": torch.tensor(4),
    }
    assert same(round_trip(folder, tree), tree)


def test_tied_tensors_stay_tied_and_are_stored_once(folder: Path) -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    model["head"].weight = model["embedding"].weight
    path = save_checkpoint(folder, checkpoint_name(1), {"model": model.state_dict()})
    back = load_checkpoint(path)["model"]
    assert back["embedding.weight"] is back["head.weight"]
    assert list(safetensors.torch.load_file(path / TENSORS)) == ["model.embedding.weight"]


def test_equal_tensors_that_are_not_tied_stay_apart(folder: Path) -> None:
    back = round_trip(folder, {"a": torch.ones(3), "b": torch.ones(3), "c": torch.ones(0), "d": torch.ones(0)})
    assert back["a"] is not back["b"]
    assert back["c"] is not back["d"]


def test_other_readers_open_the_tensors(folder: Path) -> None:
    tree = {name: torch.randint(0, 2, (3, 5)).to(dtype) for name, dtype in DTYPES.items()}
    stored = safetensors.torch.load_file(save_checkpoint(folder, checkpoint_name(1), tree) / TENSORS)
    assert all(same(stored[name], tree[name]) for name in tree)


def test_the_same_state_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # on a real disk too
    first, second = save(folder, 1), save(folder.parent / "other", 1)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def test_training_continues_to_the_bit_after_loading(folder: Path) -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.LSTM(3, 4)
        return model, torch.optim.AdamW(model.parameters())

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(5, 2, 3))[0].square().sum().backward()
            optimizer.step()

    model, optimizer = start()
    train(model, optimizer, 3)
    tree = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "generators": capture_generators()}
    path = save_checkpoint(folder, checkpoint_name(3), tree)
    train(model, optimizer, 3)

    resumed, resumed_optimizer = start()
    back = load_checkpoint(path)
    resumed.load_state_dict(back["model"])
    resumed_optimizer.load_state_dict(back["optimizer"])
    assert restore_generators(back["generators"]) == []
    train(resumed, resumed_optimizer, 3)
    assert same(dict(resumed.state_dict()), dict(model.state_dict()))


def test_generators_continue_where_they_were_captured(folder: Path) -> None:
    random.gauss(0, 1)  # leaves the second of a pair behind, which is part of the state
    np.random.standard_normal()
    back = round_trip(folder, {"generators": capture_generators()})["generators"]

    def draws() -> list[Any]:
        return [random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.rand(), torch.rand(3)]

    expected = draws()
    draws()
    assert restore_generators(back) == []
    assert all(np.array_equal(a, b) for a, b in zip(draws(), expected, strict=True))


def test_generators_of_a_missing_device_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    [reason] = restore_generators({**capture_generators(), "cuda": [torch.get_rng_state()]})
    assert "a CUDA device; this machine has none" in reason


@pytest.mark.parametrize(
    ("saved", "current", "taken"), [([7], 0, 7), ([7], 3, 7), ([5, 6, 7], 1, 6), ([5, 6], 2, None)]
)
def test_the_generator_of_the_device_in_use_goes_on_whatever_its_number(
    saved: list[int], current: int, taken: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several processes each has a device of its own, which may be another one after a restart."""
    given: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state: given.append(int(state)))
    reasons = restore_generators({**capture_generators(), "cuda": [torch.tensor(each) for each in saved]})
    assert given == ([] if taken is None else [taken])
    assert len(reasons) == (taken is None)


@pytest.mark.parametrize("position", [-1, 625, 10**30, "x"])
def test_generators_refuse_a_state_that_is_none(position: Any) -> None:
    good = capture_generators()
    bad = {**good, "numpy": {**good["numpy"], "position": position}}
    with pytest.raises(CheckpointError, match="random generators"):
        restore_generators(bad)
    for key in good:
        with pytest.raises(CheckpointError, match="random generators"):
            restore_generators({**good, key: 5})


# --- what cannot be stored


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.float64(1.5), r"numpy.float64.*\.item\(\)"),
        (np.int64(1), "numpy.int64"),
        (np.ones(2), "numpy.ndarray.*from_numpy"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        (Path("x"), "Path"),
        (nn.Linear(1, 1), "Linear"),
        (torch.ones(2).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "meta"),
        ({1.5: 0}, "a key is float"),
        ({True: 0}, "a key is bool"),
        ({(1, 2): 0}, "a key is tuple"),
        (2**5000, "bits"),
        ("\ud800", "surrogates"),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_stored_is_named(folder: Path, value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=r"^tree\['a'\]\[1\]\['b'\].*" + words):
        save_checkpoint(folder, checkpoint_name(1), {"a": [0, {"b": value}]})
    assert not folder.exists()


def test_endless_nesting_is_refused(folder: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="nested deeper"):
        save_checkpoint(folder, checkpoint_name(1), {"loop": loop})
    with pytest.raises(TypeError, match="holds a dict"):
        save_checkpoint(folder, checkpoint_name(1), [1])  # type: ignore[arg-type]


def test_what_could_not_be_read_back_is_not_written(folder: Path) -> None:
    trees: list[dict[str, Any]] = [{"text": "x" * (17 << 20)}, {"lists": [[]] * 300_000}]
    for tree in trees:
        with pytest.raises(ValueError, match="as tensors"):
            save_checkpoint(folder, checkpoint_name(1), tree)
    with pytest.raises(ValueError, match="50,001 tensors"):
        save_checkpoint(folder, checkpoint_name(1), {"tensors": [torch.ones(0)] * 50_001})
    assert not folder.exists()


@pytest.mark.parametrize("name", ["step-1", "step-0000000001", "../step-000000001", "step-000000001.replaced", "best"])
def test_only_names_of_checkpoints_are_written(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        save_checkpoint(folder, name, {})
    with pytest.raises(ValueError, match="name"):
        mark_best(folder, name, "loss", 1.0)


def test_an_ordered_dict_becomes_a_dict(folder: Path) -> None:
    assert same(round_trip(folder, {"x": OrderedDict(b=1, a=2)}), {"x": {"b": 1, "a": 2}})


# --- damage


def test_flipped_bit_is_refused(folder: Path) -> None:
    path = save(folder, 1)
    draw = random.Random(0)
    for name in FILES:
        data = (path / name).read_bytes()
        # Every part: the length and names at the head, the end, and the middle.
        places = {0, 7, 8, len(data) - 1, *draw.sample(range(len(data)), 100)}
        for place in places:
            flipped = bytearray(data)
            flipped[place] ^= 1 << draw.randrange(8)
            (path / name).write_bytes(flipped)
            assert name in refusal(path) or "checkpoint" in refusal(path)
            with pytest.raises(CheckpointError):
                verify_checkpoint(path)
        (path / name).write_bytes(data)
    assert same(load_checkpoint(path), small_tree(1))


@pytest.mark.parametrize("name", FILES)
def test_truncated_or_longer_file_is_refused(folder: Path, name: str) -> None:
    path = save(folder, 1)
    data = (path / name).read_bytes()
    for length in [*range(20), *range(20, len(data), 13), len(data) - 1]:
        (path / name).write_bytes(data[:length])
        refusal(path)
    for tail in (b"\0", b" ", b"\n", b"{}"):
        (path / name).write_bytes(data + tail)
        refusal(path)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    path = save(folder, 1)
    (path / name).unlink()
    assert name in refusal(path)


@pytest.mark.parametrize("name", FILES)
def test_file_of_another_checkpoint_is_refused(folder: Path, name: str) -> None:
    path, other = save(folder, 1), save(folder, 2)
    shutil.copy(other / name, path / name)
    refusal(path)


def test_extra_file_is_refused(folder: Path) -> None:
    path = save(folder, 1)
    (path / "evil\n.py").write_text("")
    assert r"'evil\n.py', which is no part of it" in refusal(path)


@pytest.mark.parametrize("name", FILES)
def test_link_pipe_or_folder_in_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    path = save(folder, 1)
    os.rename(path / name, folder.parent / "aside")
    (path / name).symlink_to(folder.parent / "aside")
    assert "symbolic link" in refusal(path)
    (path / name).unlink()
    os.mkfifo(path / name)
    assert "not a regular file" in refusal(path)
    (path / name).unlink()
    (path / name).mkdir()
    assert "not a regular file" in refusal(path)


def test_what_is_no_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    path = save(folder, 1)
    (folder / "link").symlink_to(path)
    (tmp_path / "file").write_text("")
    assert "link" in refusal(folder / "link")
    assert "not a folder" in refusal(tmp_path / "file")
    assert "does not exist" in refusal(tmp_path / "none")
    assert "no manifest.json" in refusal(tmp_path)


def test_checkpoint_under_the_name_of_another_step_is_refused(folder: Path) -> None:
    path = save(folder, 1)
    moved = path.rename(folder / checkpoint_name(2))
    assert "another step, 1" in refusal(moved)
    copied = moved.rename(folder / "my-favourite")
    assert same(load_checkpoint(copied), small_tree(1))


def test_newer_format_is_refused_with_the_way_out(folder: Path) -> None:
    path = save(folder, 1)
    document = json.loads((path / MANIFEST).read_bytes())
    del document["sha256"]
    (path / MANIFEST).write_bytes(durable.seal({**document, "format": 2, "files": {"weights.new": 1}}))
    assert "newer format 2" in refusal(path)
    assert "upgrade rnntrain" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"format": True},
        {"format": "1"},
        {"kind": "x"},
        {"step": "1"},
        {"reason": 1},
        {"files": []},
        {"files": {STATE: {}, TENSORS: {}}},
        {"files": {STATE: {"bytes": 1, "sha256": ""}, "../x": {"bytes": 1, "sha256": ""}}},
    ],
    ids=str,
)
def test_sealed_manifest_of_another_kind_is_refused(folder: Path, change: dict[str, Any]) -> None:
    path = save(folder, 1)
    document = json.loads((path / MANIFEST).read_bytes())
    del document["sha256"]
    (path / MANIFEST).write_bytes(durable.seal({**document, **change}))
    refusal(path)


def forge(path: Path, tensors: bytes, state: bytes) -> Path:
    """Write a checkpoint whose hashes are right and whose content is not."""
    path.mkdir(parents=True)
    files = {name: durable.write_new(path / name, [data]) for name, data in ((TENSORS, tensors), (STATE, state))}
    (path / MANIFEST).write_bytes(Manifest(1, "scheduled", "0", "0", files).to_bytes())
    return path


def tensor_bytes(entries: Any, body: bytes = bytes(8), size: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + body


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


GOOD_STATE = b'{"x":{"$tensor":"x"}}'
HOSTILE_TENSORS = {
    "empty": b"",
    "short": b"\0" * 7,
    "huge header": tensor_bytes(entry(), size=2**63),
    "header beyond the file": tensor_bytes(entry(), size=10**6),
    "not json": tensor_bytes(b"}{"),
    "not utf-8": tensor_bytes(b"\xff\xfe{"),
    "list": tensor_bytes([]),
    "deep": tensor_bytes(b"[" * 200_000),
    "brackets": tensor_bytes(b'{"x":[' + b"[]," * 300_000 + b"0]}"),
    "no body": tensor_bytes(entry(), b""),
    "bytes left": tensor_bytes(entry(), bytes(9)),
    "gap": tensor_bytes(entry(offsets=(4, 12)), bytes(12)),
    "overlap": tensor_bytes({**entry(), "y": entry()["x"]}),
    "beyond": tensor_bytes(entry(offsets=(0, 16), shape=(4,))),
    "backward": tensor_bytes(entry(offsets=(8, 0))),
    "negative": tensor_bytes(entry(shape=(-2,))),
    "negative twice": tensor_bytes(entry(shape=(-1, -2))),
    "overflow": tensor_bytes(entry(shape=(2**32, 2**32, 0), offsets=(0, 0)), b""),
    "overflow of strides": tensor_bytes(entry(shape=(0, 2**40, 2**40), offsets=(0, 0)), b""),
    "large dimension": tensor_bytes(entry(shape=(2**63, 0), offsets=(0, 0)), b""),
    "many dimensions": tensor_bytes(entry(shape=[1] * 70, offsets=(0, 4)), bytes(4)),
    "float shape": tensor_bytes(entry(shape=(2.0,))),
    "bool shape": tensor_bytes(entry(shape=(True,), offsets=(0, 4)), bytes(4)),
    "text shape": tensor_bytes(entry(shape="2")),
    "wrong size": tensor_bytes(entry(shape=(3,))),
    "unknown dtype": tensor_bytes(entry(dtype="P8")),
    "list for dtype": tensor_bytes(entry(dtype=["F32"])),
    "no offsets": tensor_bytes({"x": {"dtype": "F32", "shape": [2]}}),
    "three offsets": tensor_bytes(entry(offsets=(0, 4, 8))),
    "number for an entry": tensor_bytes({"x": 3}),
    "many tensors": tensor_bytes(
        {**entry(), **{str(i): entry(shape=(0,), offsets=(8, 8))["x"] for i in range(50_001)}}
    ),
    "long name": tensor_bytes({"x" * 100_000: 3}),
    "other name": tensor_bytes({"y": entry()["x"]}),
    "pickle": b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.",
}
HOSTILE_STATES = {
    "empty": b"",
    "not json": b"{",
    "list": b'[{"$tensor":"x"}]',
    "tuple": b'{"$tuple":[{"$tensor":"x"}]}',
    "tensor": b'{"$tensor":"x"}',
    "deep lists": b'{"x":{"$tensor":"x"},"y":' + b"[" * 200 + b"]" * 200 + b"}",
    "very deep lists": b"[" * 200_000,
    "deep tuples": b'{"x":{"$tensor":"x"},"y":' + b'{"$tuple":[' * 200 + b"]}" * 200 + b"}",
    "brackets": b'{"x":[' + b"[]," * 300_000 + b"0]}",
    "too large": b'{"x":"' + b"x" * (17 << 20) + b'"}',
    "nan": b'{"x":{"$tensor":"x"},"y":NaN}',
    "infinity": b'{"x":{"$tensor":"x"},"y":-Infinity}',
    "long integer": b'{"x":{"$tensor":"x"},"y":' + b"9" * 5000 + b"}",
    "unknown tag": b'{"x":{"$tensor":"x"},"y":{"$import":"os.system"}}',
    "two tags": b'{"x":{"$tensor":"x","$tuple":[]}}',
    "tag and key": b'{"x":{"$tensor":"x","y":1}}',
    "no such tensor": b'{"x":{"$tensor":"y"}}',
    "number for a name": b'{"x":{"$tensor":0}}',
    "list for a name": b'{"x":{"$tensor":["x"]}}',
    "unused tensor": b"{}",
    "bad float": b'{"x":{"$tensor":"x"},"y":{"$float":"1e999"}}',
    "list for a float": b'{"x":{"$tensor":"x"},"y":{"$float":[]}}',
    "not complex": b'{"x":{"$complex":"x"}}',
    "pairs of one": b'{"x":{"$tensor":"x"},"y":{"$dict":[[1]]}}',
    "pairs with a list": b'{"x":{"$tensor":"x"},"y":{"$dict":[[[],1]]}}',
    "not utf-8": b'{"x":"\xff"}',
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_TENSORS)
def test_hostile_tensors_are_refused(folder: Path, case: str) -> None:
    assert len(refusal(forge(folder / "forged", HOSTILE_TENSORS[case], GOOD_STATE))) < 1000


@pytest.mark.parametrize("case", HOSTILE_STATES)
def test_hostile_states_are_refused(folder: Path, case: str) -> None:
    shape = {"shape": (1, 2)} if case != "not complex" else {"dtype": "I32"}
    path = forge(folder / "forged", tensor_bytes(entry(**shape)), HOSTILE_STATES[case])
    assert len(refusal(path)) < 1000


def test_forged_but_sound_checkpoint_is_read(folder: Path) -> None:
    path = forge(folder / "forged", tensor_bytes({**entry(), "__metadata__": {"format": "pt"}}), GOOD_STATE)
    assert same(load_checkpoint(path), {"x": torch.zeros(2)})


def test_truth_values_are_zero_or_one(folder: Path) -> None:
    body = tensor_bytes(entry(dtype="BOOL", shape=(3,), offsets=(0, 3)), b"\0\2\xff")
    back = load_checkpoint(forge(folder / "forged", body, GOOD_STATE))
    assert same(back, {"x": torch.tensor([False, True, True])})


def test_checkpoint_that_exceeds_the_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(folder, 1)
    monkeypatch.setattr("rnntrain.checkpoints.checkpoint._memory_bytes", lambda: 100)
    assert "at most 100" in refusal(path)


# --- crashes and full disks

CALLS = ("open", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir")


class Disk:
    """Keeps what a crash before each system call would leave, with un-synced data there and with half of it lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, store: Path) -> None:
        self.folder, self.store, self.copying = folder, store, False
        self.synced: set[int] = set()
        self.crashes: list[Path] = []
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name: str, call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.copying:
                return call(*args, **kwargs)
            self.crash()
            if name == "fsync":
                self.synced.add(os.fstat(args[0]).st_ino)
            return call(*args, **kwargs)

        return wrapper

    def crash(self) -> None:
        self.copying = True
        for lose in (False, True):
            place = self.store / f"{len(self.crashes):03d}"
            shutil.copytree(self.folder, place)
            for file in [f for f in self.folder.rglob("*") if f.is_file()] if lose else []:
                if file.stat().st_ino not in self.synced:
                    os.truncate(place / file.relative_to(self.folder), file.stat().st_size // 2)
            self.crashes.append(place)
        self.copying = False

    def sync_all(self) -> None:
        self.synced |= {file.stat().st_ino for file in self.folder.rglob("*")}


def test_everything_is_synced_before_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 1)
    events: list[str] = []
    real_rename = os.rename

    def rename(source: Path, target: Path) -> None:
        events.append(f"rename to {target.name}")
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "fsync", lambda number: events.append(Path(os.readlink(f"/proc/self/fd/{number}")).name))
    save(folder, 2)
    temporary = f".tmp-{checkpoint_name(2)}-{os.getpid()}"
    assert events == [*FILES, temporary, f"rename to {checkpoint_name(2)}", folder.name]


@pytest.mark.parametrize("step", [2, 1], ids=["beside", "in place of"])
def test_crash_at_each_step_of_a_save_leaves_old_or_new(folder: Path, tmp_path: Path, step: int) -> None:
    old, new = small_tree(1), {**small_tree(step), "new": True}
    save(folder, 1, old)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, folder, tmp_path / "crashes")
        disk.sync_all()
        save(folder, step, new)
        disk.crash()
    outcomes = []
    for place in disk.crashes:
        back = load_checkpoint(latest_valid(place))
        assert same(back, old) or same(back, new)
        outcomes.append("new" in back)
        # What is left over goes with the next start, and the next save works.
        durable.remove_stale(place)
        assert set(os.listdir(place)) <= {checkpoint_name(s) + end for s in (1, step) for end in ("", ".replaced")}
        save(place, step, new)
        assert same(load_checkpoint(latest_valid(place)), new)
        assert not list(place.glob("*.replaced"))
    assert len(outcomes) > 30
    assert outcomes == sorted(outcomes)  # old up to one moment, new from there on
    assert outcomes[-1]


def test_crash_at_each_step_of_a_rotation_leaves_best_and_newest(folder: Path, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(folder, step)
    mark_best(folder, checkpoint_name(1), "loss", 0.5)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, folder, tmp_path / "crashes")
        disk.sync_all()
        assert rotate(folder, 1) == [folder / checkpoint_name(2)]
    for place in disk.crashes:
        for path in find_checkpoints(place):
            verify_checkpoint(path)
        assert same(load_checkpoint(best_checkpoint(place)), small_tree(1))
        assert same(load_checkpoint(latest_valid(place)), small_tree(3))


def test_crash_at_each_step_of_marking_the_best_leaves_old_or_new(folder: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        save(folder, step)
    mark_best(folder, checkpoint_name(1), "loss", 0.5)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, folder, tmp_path / "crashes")
        disk.sync_all()
        mark_best(folder, checkpoint_name(2), "loss", 0.25)
        disk.crash()
    steps = [read_best(place).step for place in disk.crashes]  # type: ignore[union-attr]
    assert steps == sorted(steps)
    assert set(steps) == {1, 2}


@pytest.mark.parametrize("step", [2, 1], ids=["beside", "in place of"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename", "mkdir"])
def test_disk_error_at_each_call_leaves_old_or_new(folder: Path, name: str, forever: bool, step: int) -> None:
    old, new = small_tree(1), {**small_tree(step), "new": True}
    for fail_at in range(1, 50):
        shutil.rmtree(folder, ignore_errors=True)
        save(folder, 1, old)
        calls = [0]
        real = getattr(os, name)

        def fail(*args: Any, calls: list[int] = calls, real: Any = real, at: int = fail_at, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == at or (forever and calls[0] > at):
                raise OSError(errno.EIO, "Input/output error", str(args[0]))
            return real(*args, **kwargs)

        failed = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, name, fail)
            try:
                save(folder, step, new)
            except CheckpointWriteError as error:
                failed = "Input/output error" in str(error)
        back = load_checkpoint(latest_valid(folder))
        assert same(back, new) or (failed and same(back, old))
        if name in ("write", "mkdir"):
            assert os.listdir(folder) == [checkpoint_name(1)] or not failed
        if calls[0] < fail_at:
            return
    pytest.fail("the save makes more calls than were tried")


@pytest.mark.parametrize("damaged", [False, True])
def test_replacing_again_after_a_crash_loses_nothing(folder: Path, damaged: bool) -> None:
    """A crash left the replaced checkpoint beside its successor; the disk fails while a third takes their name."""
    path = save(folder, 1, {"version": 1})
    path.rename(path.with_name(f"{path.name}.replaced"))
    save_checkpoint(folder.parent / "elsewhere", path.name, {"version": 2}).rename(path)
    if damaged:
        damage(path)
    real = os.rename

    def fail(source: Path, target: Path) -> None:
        if target == path and source.name.startswith(".tmp-"):
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(CheckpointWriteError):
            save(folder, 1, {"version": 3})
    assert load_checkpoint(latest_valid(folder)) == {"version": 1 if damaged else 2}
    save(folder, 1, {"version": 3})
    assert load_checkpoint(latest_valid(folder)) == {"version": 3}
    assert os.listdir(folder) == [path.name]


def test_full_disk_is_one_line_with_path_and_megabytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 1)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(CheckpointWriteError) as caught:
            save_checkpoint(folder, checkpoint_name(2), {"x": torch.zeros(1_000_000)})
    line = str(caught.value)
    assert caught.value.path == folder / checkpoint_name(2)
    assert caught.value.megabytes == pytest.approx(4, abs=0.01)
    assert "\n" not in line
    assert all(part in line for part in (str(folder / checkpoint_name(2)), "4.0 MB", "No space left on device"))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert os.listdir(folder) == [checkpoint_name(1)]


def test_short_writes_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:100]))
    assert same(load_checkpoint(save(folder, 1)), small_tree(1))


def test_interruption_removes_the_temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 1)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_directory", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save(folder, 2)
    assert os.listdir(folder) == [checkpoint_name(1)]


def test_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointWriteError, match="symbolic link"):
        save(folder, 1)
    assert not os.listdir(tmp_path / "elsewhere")


# --- finding, falling back, keeping


def test_find_sorts_by_step_and_passes_over_junk(folder: Path) -> None:
    steps = [1_000_000_000, 5, 999_999_999, 20]
    paths = {step: save(folder, step, {"step": step}) for step in steps}
    for junk in (".tmp-step-000000007-1", "step-7", "step-00000007x", "step-0000000007", "notes", "step-٠٠٠٠٠٠٠٠٧"):
        (folder / junk).mkdir()
    (folder / checkpoint_name(8)).write_text("a file")
    (folder / checkpoint_name(9)).symlink_to(paths[5])
    assert find_checkpoints(folder) == [paths[step] for step in sorted(steps)]
    assert find_checkpoints(folder / "none") == []


def damage(path: Path) -> None:
    data = bytearray((path / STATE).read_bytes())
    data[-1] ^= 1
    (path / STATE).write_bytes(data)


def test_latest_valid_falls_back_and_tells(folder: Path) -> None:
    paths = [save(folder, step) for step in (1, 2, 3)]
    told: list[CheckpointError] = []
    assert latest_valid(folder, told.append) == paths[2]
    assert told == []
    damage(paths[2])
    (paths[1] / STATE).unlink()
    assert latest_valid(folder, told.append) == paths[0]
    assert [str(path) in str(error) for path, error in zip((paths[2], paths[1]), told, strict=True)] == [True, True]


def test_all_bad_is_refused_with_the_list(folder: Path) -> None:
    paths = [save(folder, step) for step in (1, 2)]
    for path in paths:
        damage(path)
    with pytest.raises(CheckpointError, match="none of its 2") as caught:
        latest_valid(folder)
    assert all(str(path) in str(caught.value) for path in paths)
    assert rotate(folder, 1) == []  # nothing is thrown away when nothing else is left
    assert find_checkpoints(folder) == paths
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        latest_valid(folder / "none")


def test_rotate_never_deletes_best(folder: Path) -> None:
    for step in range(1, 7):
        save(folder, step)
        if step == 2:
            mark_best(folder, checkpoint_name(2), "validation/loss", 0.25)
        rotate(folder, 2)
    assert [path.name for path in find_checkpoints(folder)] == [checkpoint_name(step) for step in (2, 5, 6)]
    best = read_best(folder)
    assert best is not None
    assert (best.name, best.metric, best.value, best.step) == (checkpoint_name(2), "validation/loss", 0.25, 2)
    assert same(load_checkpoint(best_checkpoint(folder)), small_tree(2))


def test_rotate_never_deletes_the_newest_valid(folder: Path) -> None:
    paths = [save(folder, step) for step in range(1, 6)]
    damage(paths[3])
    damage(paths[4])
    rotate(folder, 1)
    assert find_checkpoints(folder) == [paths[2], paths[4]]
    assert latest_valid(folder) == paths[2]


def test_rotate_keeps_all_while_the_best_is_unknown(folder: Path) -> None:
    paths = [save(folder, step) for step in range(1, 4)]
    mark_best(folder, paths[0].name, "loss", 1.0)
    (folder / BEST).write_text((folder / BEST).read_text().replace("1.0", "2.0"))
    assert rotate(folder, 1) == []
    assert find_checkpoints(folder) == paths
    with pytest.raises(ValueError, match="at least one"):
        rotate(folder, 0)


def test_flipped_bit_in_best_is_refused(folder: Path) -> None:
    assert read_best(folder) is None
    with pytest.raises(CheckpointError, match="no best"):
        best_checkpoint(folder)
    save(folder, 1)
    mark_best(folder, checkpoint_name(1), "loss", 1.0)
    data = (folder / BEST).read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        (folder / BEST).write_bytes(flipped)
        with pytest.raises(CheckpointError, match=BEST):
            read_best(folder)


def test_best_leads_nowhere_else(folder: Path) -> None:
    save(folder, 1)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cannot be the best"):
            mark_best(folder, checkpoint_name(1), "loss", value)
    outside = {"name": "../../step-000000001", "metric": "loss", "value": 1.0, "step": 1}
    (folder / BEST).write_bytes(durable.seal(outside))
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        best_checkpoint(folder)
    mark_best(folder, checkpoint_name(2), "loss", 1.0)
    with pytest.raises(CheckpointError, match="is gone"):
        best_checkpoint(folder)


def test_stale_temporaries_go_and_live_ones_stay(folder: Path) -> None:
    save(folder, 1)
    ended = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(ended, 0)
    stale = [f".tmp-step-000000002-{ended}", f".tmp-old-step-000000001-{ended}", f".tmp-x-{os.getpid()}"]
    kept = [f".tmp-step-000000003-{os.getppid()}", ".tmp-other", "notes-1"]
    for name in stale + kept:
        (folder / name).mkdir()
        (folder / name / "part").write_text("")
    (folder / f".tmp-best.json-{ended}").write_text("")
    with durable.new_folder(folder / "mine") as mine:
        rotate(folder, 1)
        assert mine.is_dir()
    shutil.rmtree(mine)
    assert sorted(os.listdir(folder)) == sorted([*kept, checkpoint_name(1)])


def test_two_threads_cannot_write_one_checkpoint(folder: Path) -> None:
    save(folder, 1)
    with durable.new_folder(folder / checkpoint_name(2)) as mine, pytest.raises(RuntimeError, match="another thread"):
        save(folder, 2)
    assert mine.is_dir()


def test_saved_tree_is_left_as_it_was(folder: Path) -> None:
    tree = small_tree(1)
    before = copy.deepcopy(tree)
    save(folder, 1, tree)
    assert same(tree, before)
