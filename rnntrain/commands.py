"""Train a run, go on with one, check a config: what the command line and Python code call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from rnntrain import config as configs
from rnntrain.build import Experiment, build
from rnntrain.bundling.seal import refuse_bundle
from rnntrain.checkpoints.checkpoint import load_checkpoint
from rnntrain.checkpoints.durable import remove_stale
from rnntrain.checkpoints.saved_state import restore
from rnntrain.checkpoints.saving import check_room, coming_bytes
from rnntrain.config import Config
from rnntrain.errors import Finished, UserError
from rnntrain.interrupt import StopRequests
from rnntrain.out_of_memory import memory_explained
from rnntrain.processes import distributed
from rnntrain.processes.joining import joined
from rnntrain.running import Trained, run_to_end
from rnntrain.runs.contained import check_contained
from rnntrain.runs.job import run_of_this_job
from rnntrain.runs.metrics_file import truncate_after_step
from rnntrain.runs.record import record_resume, record_start
from rnntrain.runs.recorded import (
    as_it_began,
    bits_depend_on,
    changes_of_bits,
    codec_of,
    config_before,
    config_of,
    has_ended,
    latest_checkpoint,
    warn,
    was_never_saved,
)
from rnntrain.runs.run import RunDir, create_run, open_run
from rnntrain.runs.shown_pictures import drop_pictures_after
from rnntrain.runs.shown_texts import drop_texts_after
from rnntrain.threads import fastest_threads

# What may change when a run goes on: its limits and where it computes. All else would make it another run.
RESUMABLE = ("trainer.", "device", "threads", "kernels", "plugins", "data.path", "deterministic")


def train(config: Config, *, quiet: bool = False, stop: StopRequests | None = None) -> Trained:
    """Train a new run; nothing is written before everything has been checked and built.

    Args:
        stop: what else than a signal may ask the run to stop.

    Raises:
        UserError: for what the user can mend.
        Interrupted: after a signal; the run has been saved.
    """
    with joined(lambda: config.device):
        before = distributed.from_first(lambda: _begun_before(config))
        if before is not None:
            return _resume(RunDir(Path(before)), (), quiet=quiet, strict=False, stop=stop)
        with memory_explained():
            experiment = build(config)
            if config.top.threads == "auto":
                experiment.threads = fastest_threads(experiment.trainer, config.top.precision)
        distributed.check_alike({"config": config.plain, "data": experiment.data.fingerprint()})
        run = RunDir(Path(distributed.from_first(lambda: str(_new_run(experiment).path))))
        _check_seen(run)
        with _written_by_first(run):
            distributed.from_first(lambda: _note_start(run, experiment))
            return run_to_end(experiment, run, resumed_at=None, quiet=quiet, stop=stop)


def _begun_before(config: Config) -> str | None:
    run = run_of_this_job(config)
    if run is not None and has_ended(run):
        raise Finished(f"{run.path}: has come to its end before")
    return None if run is None else str(run.path)


def _new_run(experiment: Experiment) -> RunDir:
    settings = experiment.config.run
    _check_room(experiment, Path(settings.root if settings.dir is None else settings.dir))
    return create_run(
        Path(settings.root),
        str(settings.group),
        settings.name,
        None if settings.dir is None else Path(settings.dir),
    )


def _check_seen(run: RunDir) -> None:
    """Check that the processes on other machines see the new run, without which they could not go on with it."""
    try:
        distributed.check_seen(run.path)
    except UserError:
        with suppress(OSError):  # it is empty
            os.rmdir(run.path)
        raise


def _note_start(run: RunDir, experiment: Experiment) -> None:
    text, bits = configs.to_yaml(experiment.config.plain), bits_depend_on(experiment)
    record_start(run, text, experiment.data.fingerprint(), bits_depend_on=bits)


def _written_by_first(run: RunDir) -> AbstractContextManager[None]:
    return run.lock() if distributed.rank() == 0 else nullcontext()


def resume(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    quiet: bool = False,
    strict: bool = False,
    stop: StopRequests | None = None,
) -> Trained:
    """Go on with a run in its own folder from its newest checkpoint that verifies.

    One that was killed before its first save begins again, in its folder.

    Args:
        strict: refuse where the run would not be, to the bit, the one that never stopped.
        stop: what else than a signal may ask the run to stop.

    Raises:
        UserError: if there is no such run, it is being written, or an override would make it another run.
        Interrupted: after a signal; the run has been saved.
    """
    with joined(lambda: _contained_config(_opened(path), overrides).device):
        return _resume(_opened(path), overrides, quiet=quiet, strict=strict, stop=stop)


def _opened(path: Path) -> RunDir:
    run = open_run(path)
    refuse_bundle(run.path)
    return run


def _contained_config(run: RunDir, overrides: Sequence[str]) -> Config:
    check_contained(run)
    return config_of(run, overrides, RESUMABLE)


def _resume(run: RunDir, overrides: Sequence[str], *, quiet: bool, strict: bool, stop: StopRequests | None) -> Trained:
    distributed.check_seen(run.path)
    with _written_by_first(run):
        checkpoint = distributed.from_first(lambda: _newest(run))
        config = as_it_began(run, _contained_config(run, overrides))
        tree = None if checkpoint is None else load_checkpoint(Path(checkpoint))
        with memory_explained():
            experiment = build(config, codec=None if tree is None else codec_of(config, tree))
        distributed.check_alike({"config": config.plain, "data": experiment.data.fingerprint()})
        inexact = changes_of_bits(run, experiment)
        if checkpoint is not None and tree is not None:
            inexact = [*inexact, *restore(experiment, tree, Path(checkpoint))]
        distributed.from_first(lambda: _note_resume(run, experiment, inexact, strict))
        return run_to_end(experiment, run, resumed_at=experiment.trainer.step, quiet=quiet, stop=stop)


def _newest(run: RunDir) -> str | None:
    """Return the newest checkpoint; None of a run that was killed before its first."""
    check_contained(run)
    for folder in (run.path, run.checkpoints, run.nonfinite):
        remove_stale(folder)
    return None if was_never_saved(run) else str(latest_checkpoint(run))


def _note_resume(run: RunDir, experiment: Experiment, inexact: list[str], strict: bool) -> None:
    _refuse_if_ended(run, experiment)
    _check_room(experiment, run.checkpoints)
    if strict and (inexact := [*inexact, *_follows_the_clock(experiment)]):
        raise UserError(f"{run.path}: --strict: {'; '.join(inexact)}. Mend that, or go on without --strict")
    for line in inexact:
        warn(line)
    step, config = experiment.trainer.step, experiment.config
    truncate_after_step(run.metrics, step)
    drop_texts_after(run.texts, step)
    drop_pictures_after(run.pictures_over_time, step)
    before = config_before(run, config)
    record_resume(run, configs.to_yaml(config.plain), step, bits_depend_on(experiment), before)


def _check_room(experiment: Experiment, folder: Path) -> None:
    check_room(folder, coming_bytes(experiment.trainer), experiment.config.trainer.keep_checkpoints, warn)


def _follows_the_clock(experiment: Experiment) -> list[str]:
    settings = experiment.config.trainer
    if settings.max_steps is None and settings.max_epochs is None and settings.max_minutes is not None:
        return ["its only limit is trainer.max_minutes, and a clock never repeats"]
    return []


def _refuse_if_ended(run: RunDir, experiment: Experiment) -> None:
    """Refuse a run that has come to its end under the limits that it has now.

    Raises:
        UserError: names the limit that must be raised.
    """
    limit = experiment.trainer.limit_reached()
    if limit is not None and has_ended(run):
        value = getattr(experiment.config.trainer, limit)
        raise UserError(
            f"{run.path}: ended at step {experiment.trainer.step:,} by {limit}; to go on, raise it from "
            f"trainer.{limit}={value:g}"
        )


def check(config: Config) -> list[str]:
    """Build everything that `train` would, and say what it came to; writes nothing."""
    experiment = build(config)
    settings, data = config.trainer, experiment.data
    batches = data.num_train_batches(config.top.seed, 0)
    limits = {name: getattr(settings, name) for name in ("max_steps", "max_epochs", "max_minutes")}
    return [
        "This config is valid.",
        f"  data    {data.describe()}; {batches:,} batches an epoch",
        f"  model   {config.cell_names}, {experiment.num_parameters:,} parameters",
        f"  device  {experiment.device}, {experiment.threads} threads, {config.top.precision}",
        "  ends    after " + ", ".join(f"{name}={value:g}" for name, value in limits.items() if value is not None),
    ]
