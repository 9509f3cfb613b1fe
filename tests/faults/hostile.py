"""Configs and overrides that somebody wrote to run code, to write elsewhere or to exhaust the machine.

Each case writes its files into an empty folder, which holds `tiny.txt` already, and returns the words of a command.
`OUTSIDE` stands in payloads for a folder that nothing may touch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from commandline import TINY

Case = Callable[[Path, Path], list[str]]

PAYLOAD = "touch {outside}/executed"


def experiment(text: str, *words: str, verb: str = "train", name: str = "experiment/evil", tiny: bool = True) -> Case:
    """Return a case whose config file, chosen as `experiment=evil` unless named otherwise, says `text`."""

    def write(folder: Path, outside: Path) -> list[str]:
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("PAYLOAD", PAYLOAD).replace("{outside}", str(outside)), encoding="utf-8")
        group, _, choice = name.rpartition("/")
        chosen = [f"{group}={choice}"] if group else ["--config-name", choice]
        return [verb, "--config-dir", "conf", *chosen, *(TINY if tiny else []), *words]

    return write


def words(*given: str, verb: str = "train") -> Case:
    """Return a case of words alone."""
    return lambda folder, outside: [verb, *TINY, *(word.replace("{outside}", str(outside)) for word in given)]


def bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def grown(n: int) -> str:
    return f"  a{n}: " + f"${{data.a{n - 1}}}" * 10 + "\n"


def huge_file(folder: Path, outside: Path) -> list[str]:
    path = folder / "conf/experiment/evil.yaml"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"# a hundred megabytes\n")
        file.truncate(100_000_000)
    return ["train", "--config-dir", "conf", "experiment=evil"]


def pipe_for_config(folder: Path, outside: Path) -> list[str]:
    (folder / "conf/experiment").mkdir(parents=True)
    os.mkfifo(folder / "conf/experiment/evil.yaml")
    return ["train", "--config-dir", "conf", "experiment=evil"]


def device_for_config(folder: Path, outside: Path) -> list[str]:
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/evil.yaml").symlink_to("/dev/zero")
    return ["train", "--config-dir", "conf", "experiment=evil"]


def module_here(text: str, *given: str) -> Case:
    """Return a case with a Python module in the working directory, which nothing may import."""

    def write(folder: Path, outside: Path) -> list[str]:
        (folder / "evilpackage.py").write_text(f"open({str(outside / 'executed')!r}, 'w')\nclass Evil: pass\n")
        return experiment(text, *given)(folder, outside)

    return write


def linked(name: str, *given: str) -> Case:
    """Return a case in which a folder that a run would be written to is a link out of the working directory."""

    def write(folder: Path, outside: Path) -> list[str]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(outside)
        return ["train", *TINY, *given]

    return write


def target(section: str, path: str) -> Case:
    return words(f"{section}._target_={path}")


CONFIGS: dict[str, Case] = {
    "yaml: billion laughs": experiment(bomb()),
    "yaml: one alias": experiment("model: &m {hidden_size: 8}\nother: *m\n"),
    "yaml: merge key": experiment("base: &b {hidden_size: 8}\nmodel:\n  <<: *b\n"),
    "yaml: recursive alias": experiment("model: &m [*m]\n"),
    "yaml: python object": experiment("model: !!python/object/apply:os.system ['PAYLOAD']\n"),
    "yaml: python new object": experiment("model: !!python/object/new:os.system [PAYLOAD]\n"),
    "yaml: python name": experiment("model: !!python/name:os.system\n"),
    "yaml: python module": experiment("model: !!python/module:evil\n"),
    "yaml: unknown tag": experiment("model: !evil {a: 1}\n"),
    "yaml: deep flow": experiment("model: " + "[" * 20_000 + "]" * 20_000),
    "yaml: deep blocks": experiment("".join("  " * n + "a:\n" for n in range(150))),
    "yaml: many keys": experiment("".join(f"k{n}: {n}\n" for n in range(6000))),
    "yaml: two documents": experiment("model: {hidden_size: 8}\n---\nmodel: {hidden_size: 9}\n"),
    "yaml: keys that are no texts": experiment("? [1, 2]\n: 3\n"),
    "yaml: huge number": experiment("seed: " + "9" * 5000),
    "yaml: sexagesimal number": experiment("seed: " + ":".join(["59"] * 3000)),
    "yaml: zero bytes": experiment("seed: \x00\n"),
    "yaml: 100 MB": huge_file,
    "yaml: a pipe": pipe_for_config,
    "yaml: a device": device_for_config,
    "resolver: oc.env": experiment("run:\n  name: ${oc.env:SECRET}\n"),
    "resolver: oc.env in a key": experiment("data:\n  path: ${oc.env:HOME}/x\n"),
    "resolver: oc.decode": experiment("run:\n  name: ${oc.decode:'${oc.env:SECRET}'}\n"),
    "resolver: oc.create": experiment("model: ${oc.create:'{_target_: os.system}'}\n"),
    "resolver: nested": experiment("run:\n  name: ${a${oc.env:SECRET}}\n"),
    "resolver: escaped twice": experiment("run:\n  name: \\\\${oc.env:SECRET}\n"),
    "resolver: hydra": experiment("run:\n  name: ${hydra:runtime.cwd}\n"),
    "resolver: in a list": experiment("plugins: ['${oc.env:SECRET}']\n"),
    "resolver: in the defaults": experiment("defaults:\n  - /data: ${oc.env:SECRET}\n"),
    "resolver: endless": experiment("run:\n  name: ${run.group}\n  group: ${run.name}\n"),
    "resolver: growing": experiment("data:\n  a0: xxxxxxxxxx\n" + "".join(map(grown, range(1, 10)))),
    "resolver: growing sections": experiment(
        "run:\n  a0: {x: 1, y: 1}\n"
        + "".join(f"  a{n}: {{x: '${{run.a{n - 1}}}', y: '${{..a{n - 1}}}'}}\n" for n in range(1, 40))
    ),
    "resolver: as an override": words("run.name=${oc.env:SECRET}"),
    "resolver: as an override, quoted": words("run.name='${oc.env:SECRET}'"),
    "resolver: hydra's own key": words("hydra.job.name=${oc.env:SECRET}"),
    "target: os.system": target("task", "os.system"),
    "target: builtins.eval": target("task", "builtins.eval"),
    "target: subprocess": target("data", "subprocess.Popen"),
    "target: through a module": target("task", "rnntrain.runs.run.os.system"),
    "target: through torch": target("optimizer", "torch.optim.sys.modules"),
    "target: below torch": target("optimizer", "torch.utils.cpp_extension.load_inline"),
    "target: a class of another kind": target("model.cell", "rnntrain.watching.logger.Logger"),
    "target: with a call": target("task", "'os.system(1)'"),
    "target: relative": target("task", "..os.system"),
    "target: unicode lookalike": target("task", "rnntrain.tasks.language_modeling.\u041canguageModeling"),
    "target: a module that runs": target("task", "rnntrain.__main__.main"),
    "target: this": target("task", "antigravity.webbrowser"),
    "target: deep inside": experiment("model:\n  cell:\n    inner: {_target_: os.system, command: PAYLOAD}\n"),
    "target: hydra's arguments": experiment("model:\n  _target_: os.system\n  _args_: [PAYLOAD]\n  _partial_: true\n"),
    "target: in a list of cells": experiment("model:\n  cells: [{_target_: os.system}]\n"),
    "plugins in a file": module_here("plugins: [evilpackage]\n"),
    "plugins and target in a file": module_here("plugins: [evilpackage]\ntask: {_target_: evilpackage.Evil}\n"),
    "plugins by a defaults list": module_here("# @package _global_\nplugins:\n  - evilpackage\n"),
    "target of a module here": module_here("task: {_target_: evilpackage.Evil}\n"),
    "hydra: search path": experiment("hydra:\n  searchpath: [pkg://evilpackage]\n", "-m", "seed=0,1"),
    "hydra: search path as an override": words("hydra.searchpath=[pkg://antigravity]"),
    "hydra: callbacks": experiment(
        "hydra:\n  callbacks: {x: {_target_: os.system, command: PAYLOAD}}\n", "-m", "seed=1"
    ),
    "hydra: callbacks as an override": words("hydra.callbacks={x: {_target_: os.system, command: PAYLOAD}}", "-m"),
    "hydra: launcher": experiment("hydra:\n  launcher: {_target_: os.system, command: PAYLOAD}\n", "-m", "seed=1"),
    "hydra: launcher as an override": words("hydra.launcher._target_=os.system", "-m", "seed=1"),
    "hydra: sweeper as an override": words("hydra.sweeper._target_=os.system", "-m", "seed=1"),
    "hydra: job logging": experiment(
        "hydra:\n  job_logging: {version: 1, handlers: {x: {(): os.system, command: PAYLOAD}}}\n", "-m", "seed=1"
    ),
    "hydra: environment": experiment("hydra:\n  job: {env_set: {LD_PRELOAD: x}}\n", "-m", "seed=1"),
    "hydra: sweep folder": experiment("hydra:\n  sweep: {dir: '{outside}'}\n", "-m", "seed=1"),
    "hydra: run folder": experiment("hydra:\n  run: {dir: '{outside}'}\n"),
    "hydra: output folder": experiment("hydra:\n  output_subdir: '{outside}'\n"),
    "hydra: its own groups": experiment("defaults:\n  - override /hydra/launcher: evil\n"),
    "defaults: absolute path": experiment("defaults:\n  - /etc/passwd\n"),
    "defaults: parent folders": experiment("defaults:\n  - ../../../../etc/passwd\n"),
    "defaults: a package": experiment("defaults:\n  - pkg://evilpackage/x\n"),
    "defaults: itself": experiment("defaults:\n  - /experiment: evil\n"),
    "defaults: no list": experiment("defaults: {a: b}\n"),
    "choice: parent folders": words("data=../../../etc/passwd"),
    "choice: absolute path": words("data=/etc/passwd"),
    "config name: parent folders": lambda folder, outside: ["train", "--config-name", "../../../etc/passwd"],
    "config name: absolute": lambda folder, outside: ["train", "--config-name", "/etc/passwd"],
    "config name: zero byte": lambda folder, outside: ["train", "--config-name", "a\0b"],
    "name: parent folder": words("run.name=../evil"),
    "name: many parent folders": words("run.name=../../../../../../tmp/evil"),
    "name: absolute": words("run.name={outside}/evil"),
    "name: dots": words("run.name='..'"),
    "name: zero byte": words('run.name="a\0b"'),
    "name: line break": words('run.name="a\nb"'),
    "name: terminal codes": words('run.name="\x1b[2Jx"'),
    "name: full-width dots": words("run.name=\uff0e\uff0e/x"),
    "name: right to left": words("run.name=\u202etxt.exe"),
    "name: an option": words("run.name='-rf'"),
    "name: hidden": words("run.name='.ssh'"),
    "name: 300 signs": words("run.name=" + "x" * 300),
    "group: parent folder": words("run.group=../../evil"),
    "folder: zero byte": words('run.dir="x\0y"'),
    "folder: 5000 signs": words("run.dir=" + "x" * 5000),
    "folder: a device": words("run.dir=/dev/null"),
    "folder: a link": linked("runs", "run.dir=runs"),
    "group: a link": linked("outputs/language_modeling"),
    "override: no value": words("=x"),
    "override: 100 kB": words("seed=" + "9" * 100_000),
    "override: deep": words("model.cell=" + "[" * 5000 + "]" * 5000),
    "override: deep key": words(".".join(["model"] * 2000) + "=1"),
    "override: a glob": words("seed=glob(*)"),
    "override: a sort of ranges": words("seed=range(0,1000000000)", "-m"),
    "override: many runs": words(*(f"optimizer.{k}={','.join(map(str, range(101)))}" for k in ("lr", "eps")), "-m"),
    "sizes: hidden": words("model.hidden_size=1000000000"),
    "sizes: layers": words("model.num_layers=1000000000"),
    "sizes: embedding": words("model.embedding_size=1000000000"),
    "sizes: batch": words("data.batch_size=1000000000"),
    "sizes: bptt": words("data.bptt=1000000000"),
    "sizes: cells": words("model.cells=[" + ",".join(["lstm"] * 2000) + "]"),
    "sizes: generated": words(
        "data=adding", "task=regression", "data.length=1000000000", "data.epoch_batches=1000000000"
    ),
    "sizes: threads": words("threads=1000000000"),
    "sizes: window": words(
        "data=airpassengers", "task=forecasting", "data.window=1000000000", "data.horizon=1000000000"
    ),
}
