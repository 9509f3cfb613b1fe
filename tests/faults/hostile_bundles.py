"""Bundles that somebody sends along to be served, exported or asked: seals that lead out, weights that lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from faults.hostile_runs import Change, all_checkpoints, append, in_config, link, pipe, put, record_of, sparse
from rnntrain.bundling.seal import SEAL
from rnntrain.checkpoints import durable
from rnntrain.checkpoints.checkpoint import load_checkpoint, save_checkpoint


def sealed(change: Change) -> Change:
    """Return a case of a bundle whose seal vouches for what was changed."""

    def changed(bundle: Path, outside: Path) -> None:
        change(bundle, outside)
        names = [path for path in sorted(bundle.rglob("*")) if path.is_file() and path.name not in (SEAL, "README.md")]
        listed = {
            str(path.relative_to(bundle)): vars(record_of(path))
            for path in names
            if "step-" not in str(path) and not path.is_symlink()
        }
        seal_of(bundle, {name: {"bytes": each["size"], "sha256": each["sha256"]} for name, each in listed.items()})

    return changed


def seal_of(bundle: Path, files: Any) -> None:
    (bundle / SEAL).write_bytes(durable.seal({"kind": "rnntrain bundle", "format": 1, "files": files}))


def listing(**files: Any) -> Change:
    """Return a case of a bundle whose seal lists more files, or says something else of one."""
    entry = {"bytes": 4, "sha256": hashlib.sha256(b"kept").hexdigest()}

    def change(bundle: Path, outside: Path) -> None:
        known = {name: vars(record_of(bundle / name)) for name in ("config.yaml", "run.json")}
        listed = {name: {"bytes": each["size"], "sha256": each["sha256"]} for name, each in known.items()}
        seal_of(bundle, listed | {name: value or entry for name, value in files.items()})

    return change


def weights(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Return a case in which the tensors of every checkpoint are others, rightly written."""

    def change(bundle: Path, outside: Path) -> None:
        for checkpoint in all_checkpoints(bundle):
            tree = load_checkpoint(checkpoint)
            edit(tree["trainer"]["model"])
            save_checkpoint(checkpoint.parent, checkpoint.name, tree)

    return change


def each(function: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
    return lambda model: model.update({name: function(weight) for name, weight in model.items()})


def first(function: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
    def edit(model: dict[str, Any]) -> None:
        name = next(iter(model))
        model[name] = function(model[name])

    return edit


def through_a_link(bundle: Path, outside: Path) -> None:
    (bundle / "folder").symlink_to(outside)
    listing(**{"folder/kept.txt": None})(bundle, outside)


BUNDLES: dict[str, Change] = {
    "sizes: a wider model": sealed(in_config("hidden_size: 8", "hidden_size: 9")),
    "sizes: four gigabytes of weights": sealed(in_config("hidden_size: 8", "hidden_size: 15000")),
    "sizes: a terabyte of weights": sealed(in_config("hidden_size: 8", "hidden_size: 250000")),
    "sizes: many layers": sealed(in_config("hidden_size: 8", "hidden_size: 8\n  num_layers: 64")),
    "target: of the system": sealed(in_config("rnntrain.tasks.language_modeling.LanguageModeling", "os.system")),
    "target: through a module": sealed(
        in_config("rnntrain.tasks.language_modeling.LanguageModeling", "rnntrain.tasks.language_modeling.os.system")
    ),
    "target: a data set for a task": sealed(
        in_config("rnntrain.tasks.language_modeling.LanguageModeling", "rnntrain.data.text.Text")
    ),
    "config: a plugin": sealed(append("config.yaml", "plugins: [antigravity]\n")),
    "config: the environment": sealed(append("config.yaml", "seed: ${oc.env:SECRET}\n")),
    "seal: up": listing(**{"../outside/kept.txt": None}),
    "seal: absolute": listing(**{"/etc/passwd": None}),
    "seal: zero byte": listing(**{"a\0b": None}),
    "seal: a device": listing(**{"/dev/zero": None}),
    "seal: through a link": through_a_link,
    "seal: a list": lambda bundle, outside: seal_of(bundle, ["config.yaml"]),
    "seal: a number": lambda bundle, outside: seal_of(bundle, 7),
    "seal: a size below nothing": listing(**{"config.yaml": {"bytes": -1, "sha256": "0" * 64}}),
    "seal: a size of another kind": listing(**{"config.yaml": {"bytes": "1", "sha256": 7}}),
    "seal: a link": link("bundle.json"),
    "seal: a pipe": pipe("bundle.json"),
    "seal: a gigabyte": sparse("bundle.json", 1 << 30),
    "seal: names nothing": lambda bundle, outside: seal_of(bundle, {}),
    "weights: of other shapes": sealed(weights(each(lambda weight: weight.reshape(-1)))),
    "weights: one of another shape": sealed(weights(first(lambda weight: weight[:1]))),
    "weights: one of no size": sealed(weights(first(lambda weight: weight.new_zeros(0, 1 << 40)))),
    "weights: none": sealed(weights(lambda model: model.clear())),
    "weights: one too many": sealed(weights(lambda model: model.update(evil=torch.zeros(3)))),
    "weights: a name that leads out": sealed(weights(lambda model: model.update({"../../evil": torch.zeros(3)}))),
    "weights: NaN": sealed(weights(each(lambda weight: weight * float("nan")))),
    "weights: infinite": sealed(weights(each(lambda weight: weight + float("inf")))),
    "weights: whole numbers": sealed(weights(each(lambda weight: weight.long()))),
    "weights: of eight bytes": sealed(weights(each(lambda weight: weight.double()))),
    "weights: complex": sealed(weights(each(lambda weight: weight.to(torch.complex64)))),
    "codec: other signs": sealed(put("codec", value={"unit": "char", "characters": "ab"})),
    "codec: a number": sealed(put("codec", value=3)),
    "step: a text": sealed(put("trainer", "step", value="../../evil")),
}
