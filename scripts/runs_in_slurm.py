"""Runs in a Slurm of this machine (`one_machine_slurm`), and what they came to beside those by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from one_machine_slurm import Slurm, wait_for

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = 8000
TINY = [
    "data=text",
    "data.path=tiny.txt",
    "data.batch_size=4",
    "data.bptt=8",
    "model.hidden_size=8",
    "model.num_layers=2",
    "model.dropout=0.1",
    "task.sample_length=0",
    "device=cpu",
    "threads=1",
    "trainer.log_every_steps=100",
    f"trainer.eval_every_steps={STEPS // 4}",
    f"trainer.checkpoint_every_steps={STEPS // 2}",
]
# That of docs/cluster.md.
SCRIPT = """\
#!/bin/bash
#SBATCH --requeue --open-mode=append --output={output}
srun {words}
code=$?
[ $code -eq 75 ] && scontrol requeue $SLURM_JOB_ID   # 75: interrupted, and saved
exit $code
"""


class Place:
    """A folder with runs, and the cluster that makes them."""

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm
        folder.mkdir()
        text = "the sea was a grey line, and so we went on: the line, the sea.\n" * 60
        (folder / "tiny.txt").write_text(text, encoding="utf-8")
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        bin_folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        slurm.environment |= {"PYTHONPATH": path, "PATH": bin_folder, "OMP_NUM_THREADS": "1"}

    # -- runs ---

    def words(self, group: str, *more: str, steps: int = STEPS) -> list[str]:
        """Return what is typed after `rnntrain train`."""
        limits = [] if any(word.startswith("trainer.max_steps=") for word in more) else [f"trainer.max_steps={steps}"]
        return [*TINY, *limits, f"run.root={self.folder}/outputs", f"run.group={group}", *more]

    def script(self, group: str, *more: str, template: str = SCRIPT, verb: str = "train", **values: Any) -> str:
        words = " ".join(f"'{word}'" for word in self.words(group, *more))
        output = self.folder / f"{group}.log"
        return template.format(output=output, words=f"rnntrain {verb} {words}", **values)

    def submit(self, script: str, *options: str) -> str:
        return self.slurm.submit(script, f"--chdir={self.folder}", "--cpus-per-task=1", *options)

    def whole(self, *more: str, processes: int = 1, steps: int = STEPS) -> Path:
        """Return a run by hand that never stopped."""
        name = "-".join(["whole", str(processes), str(steps), *(each.replace("=", "-") for each in more)])
        path = self.folder / "outputs" / "by-hand" / name
        if not path.exists():
            started = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
            command = [*(started if processes > 1 else [sys.executable]), "-m", "rnntrain", "train"]
            words = self.words("by-hand", f"run.name={name}", "seed=1", *more, steps=steps)
            self.call(*command, *words)
        return path

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.folder, env=self.slurm.environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def launched(self, group: str, *more: str) -> Iterator[subprocess.Popen[str]]:
        """Start a multirun whose jobs Slurm runs."""
        engine = ["-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"]
        command = [sys.executable, "-m", "rnntrain", "train", *engine, *self.words(group, *more)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(command, cwd=self.folder, env=self.slurm.environment, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def runs(self, group: str) -> list[Path]:
        return sorted((self.folder / "outputs" / group).glob("*/run.json"))

    def run(self, group: str) -> Path:
        """Return the one run of a group."""
        found = self.runs(group)
        assert len(found) == 1, f"{len(found)} runs in {group}"
        return found[0].parent

    def wait_until_it_trains(self, group: str, number: int = 1) -> None:
        """Wait until so many runs of a group have logged some steps."""

        def trained() -> bool:
            logged = (self.folder / "outputs" / group).glob("*/metrics.jsonl")
            return sum(b'"step": 200' in path.read_bytes() for path in logged) >= number

        wait_for(trained, f"steps of {group}")

    def sweep_runs(self, name: str) -> list[Path]:
        return sorted((self.folder / "outputs" / "sweeps" / name / "runs").glob("*"))

    def config(self, run: Path) -> dict[str, Any]:
        import yaml

        found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
        return found

    def steps_of(self, seconds: float) -> int:
        """Return how many steps a run by hand takes that lasts so long, in quarters of a usual one."""
        minutes = json.loads((self.whole() / "summary.json").read_text())["minutes"]
        return max(4, round(4 * seconds / (60 * minutes))) * STEPS // 4

    def log(self, group: str) -> str:
        return (self.folder / f"{group}.log").read_text(errors="replace")


# -- what a run has come to ---


def resumed(run: Path) -> list[int]:
    """Return the steps at which a run has gone on."""
    return [each["step"] for each in json.loads((run / "run.json").read_text()).get("resumed", [])]


def status(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["status"]


def same(run: Path, whole: Path) -> str:
    """Check that a run that was interrupted is the one that never stopped, to the bit; return where it went on."""
    assert status(run) == "finished", status(run)
    steps = resumed(run)
    assert steps, f"{run}: was never interrupted"
    found = different(tree(run), tree(whole))
    assert not found, f"{run}: differs in {found[:3]}"
    ours, theirs = losses(run), losses(whole)
    assert ours == theirs, (
        f"{run}: other losses at steps {[step for step in theirs if ours.get(step) != theirs[step]][:3]}"
    )
    return f"went on at step {', '.join(f'{step:,}' for step in steps)} of {max(theirs):,}, in its own run, to the bit"


def tree(run: Path) -> dict[str, Any]:
    """Return the last checkpoint, without what tells of time."""
    from rnntrain.checkpoints.checkpoint import latest_valid, load_checkpoint

    found = load_checkpoint(latest_valid(run / "checkpoints"))
    del found["trainer"]["seconds"]
    return found


def different(a: Any, b: Any, place: str = "") -> list[str]:
    """Return the places where two trees differ."""
    import torch

    if isinstance(a, torch.Tensor):
        return [] if torch.equal(_bits(a), _bits(b)) else [place]
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict):
        keys = [str(key) for key in a.keys() ^ b.keys()]
        return keys or [line for key in a for line in different(a[key], b[key], f"{place}.{key}")]
    return [] if a == b else [place]


def _bits(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().flatten().view(torch.uint8)


def losses(run: Path) -> dict[int, dict[str, float]]:
    """Return what was logged of training and validation, by step."""
    found: dict[int, dict[str, float]] = {}
    path = run / "metrics.jsonl"
    for line in map(json.loads, path.read_text().splitlines() if path.exists() else []):
        values = {name: value for name, value in line.items() if name.startswith(("train/", "val/"))}
        found.setdefault(line["step"], {}).update(values)
    return found
