"""Which checkpoints of a run are whole, which is the best, which one a resume would take. `verify` changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.bundling.seal import is_bundle, verify_seal
from rnntrain.checkpoints.checkpoint import CheckpointError, checkpoint_step, find_checkpoints, verify_checkpoint
from rnntrain.checkpoints.manifest import MANIFEST
from rnntrain.checkpoints.retention import read_best
from rnntrain.errors import UserError
from rnntrain.runs import record
from rnntrain.runs.record import read_config_text, read_start
from rnntrain.runs.recorded import was_never_saved
from rnntrain.runs.run import RunDir, open_run


@dataclass(frozen=True)
class Verdict:
    """What is known of one checkpoint; `problem` is None where sizes and hashes are right."""

    path: Path
    problem: str | None
    step: int | None = None
    saved_for: str | None = None
    megabytes: float | None = None


@dataclass
class Report:
    """What is known of a run, or of one checkpoint where that was asked for.

    Attributes:
        problems: what is wrong with other files than checkpoints.
        best: the name of the best checkpoint.
        resume: the name of the checkpoint that `rnntrain resume` would take; None where there is none.
        unsaved: the run was stopped before its first save, and a resume would begin it again.
    """

    path: Path
    is_run: bool
    checkpoints: list[Verdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    best: str | None = None
    resume: str | None = None
    unsaved: bool = False

    @property
    def sound(self) -> bool:
        """Say whether nothing is damaged, and a run can go on."""
        whole = all(verdict.problem is None for verdict in self.checkpoints) and not self.problems
        return whole and (not self.is_run or self.unsaved or self.resume is not None)

    def to_json(self) -> dict[str, Any]:
        document = asdict(self) | {"path": str(self.path), "sound": self.sound}
        document["checkpoints"] = [asdict(verdict) | {"path": str(verdict.path)} for verdict in self.checkpoints]
        return document

    def lines(self) -> Iterator[str]:
        """Yield what is printed."""
        yield str(self.path)
        for verdict in self.checkpoints:
            name = verdict.path.name
            if verdict.problem is not None:
                yield f"  {name}  damaged  {verdict.problem}"
            else:
                best = "  the best" if name == self.best else ""
                yield f"  {name}  ok       {verdict.megabytes:,.2f} MB, saved for: {verdict.saved_for}{best}"
        for problem in self.problems:
            yield f"  {problem}"
        if self.is_run:
            yield f"  resume would {self._resume_would()}"

    def _resume_would(self) -> str:
        if self.resume is not None:
            return f"take {self.resume}"
        return "begin again: nothing was saved" if self.unsaved else "refuse: nothing to go on from"


def verify(path: Path) -> Report:
    """Check a run with all of its checkpoints, or one checkpoint.

    Raises:
        UserError: it is neither.
    """
    if _is_checkpoint(path):
        return Report(path, is_run=False, checkpoints=[_verdict(path)])
    run = open_run(path)
    shown = path if Path(os.path.realpath(path)) == run.path else run.path
    report = Report(shown, is_run=True, problems=list(_problems(run)))
    for checkpoint in find_checkpoints(run.checkpoints):
        verdict = _verdict(checkpoint)
        if verdict.problem is None or checkpoint.exists():  # a run that trains may have deleted it meanwhile
            report.checkpoints.append(verdict)
    whole = [verdict.path.name for verdict in report.checkpoints if verdict.problem is None]
    report.resume = whole[-1] if whole else None
    report.unsaved = was_never_saved(run)
    _look_at_best(report, run)
    return report


def accept(path: Path) -> None:
    """Take the config and the record of a run as they stand, though they were changed.

    Raises:
        UserError: it is no run, or a bundle; one of them cannot be read; another process writes the run.
    """
    run = open_run(path)
    if is_bundle(run.path):
        raise UserError(f"{run.path}: is a bundle, whose files nobody changes; make it anew")
    record.accept(run)


def _is_checkpoint(path: Path) -> bool:
    if (path / MANIFEST).is_file():
        return True
    try:
        checkpoint_step(path)
    except ValueError:
        return False
    return os.path.lexists(path)


def _verdict(path: Path) -> Verdict:
    try:
        manifest = verify_checkpoint(path)
    except CheckpointError as error:
        return Verdict(path, str(error).removeprefix(f"{path}: "))
    megabytes = sum(record.size for record in manifest.files.values()) / 1e6
    return Verdict(path, None, manifest.step, manifest.reason, megabytes)


def _problems(run: RunDir) -> Iterator[str]:
    said: set[str] = set()  # a damaged record cannot vouch for the config either
    for look in (
        lambda: read_start(run),
        lambda: configs.from_yaml(read_config_text(run), str(run.config)),
        lambda: verify_seal(run.path) if is_bundle(run.path) else None,
    ):
        try:
            look()
        except UserError as error:
            if str(error) not in said:
                yield str(error)
            said.add(str(error))


def _look_at_best(report: Report, run: RunDir) -> None:
    try:
        best = read_best(run.checkpoints)
    except CheckpointError as error:
        report.problems.append(str(error))
        return
    if best is None:
        return
    report.best = best.name
    if not (run.checkpoints / best.name).is_dir():
        report.problems.append(f"{run.checkpoints / best.name}: the best checkpoint is gone; use the latest")
