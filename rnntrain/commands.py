"""Train a run, go on with one, check a config: what the command line and Python code call."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from rnntrain import config as configs
from rnntrain.build import Experiment, build
from rnntrain.bundling.seal import refuse_bundle
from rnntrain.checkpoints.checkpoint import CheckpointWriteError, checkpoint_name, load_checkpoint
from rnntrain.checkpoints.durable import remove_stale
from rnntrain.checkpoints.retention import best_checkpoint
from rnntrain.checkpoints.saved_state import restore
from rnntrain.checkpoints.saving import check_room, coming_bytes
from rnntrain.config import Config
from rnntrain.errors import Finished, Interrupted, NonFiniteError, UserError
from rnntrain.evaluation import evaluate_finally
from rnntrain.interrupt import StopRequests
from rnntrain.native import library
from rnntrain.optim import load_weights
from rnntrain.out_of_memory import OutOfMemory, memory_explained
from rnntrain.processes import distributed
from rnntrain.processes.following import follow
from rnntrain.processes.joining import joined
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
from rnntrain.runs.run import RunDir, create_run, open_run, write_summary
from rnntrain.runs.shown_pictures import drop_pictures_after
from rnntrain.runs.shown_texts import drop_texts_after
from rnntrain.runs.summary import Summary
from rnntrain.threads import fastest_threads
from rnntrain.watching.gradient_log import GradientLog
from rnntrain.watching.hparams import write_session
from rnntrain.watching.logger import Logger
from rnntrain.watching.looking_closer import last_pictures, leave_sounds_and_vectors, looking_closer
from rnntrain.watching.recorder import Recorder

# What may change when a run goes on: its limits and where it computes. All else would make it another run.
RESUMABLE = ("trainer.", "device", "threads", "kernels", "plugins", "data.path", "deterministic")


@dataclass
class Trained:
    """A run that has come to its end, with the model in memory.

    Attributes:
        writes: True in the one process that writes the run, of those that trained it together.
    """

    run: RunDir
    experiment: Experiment
    summary: Summary
    writes: bool = True


# -- training ---


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
            return _run_to_end(experiment, run, resumed_at=None, quiet=quiet, stop=stop)


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
        return _run_to_end(experiment, run, resumed_at=experiment.trainer.step, quiet=quiet, stop=stop)


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


def _run_to_end(
    experiment: Experiment, run: RunDir, *, resumed_at: int | None, quiet: bool, stop: StopRequests | None
) -> Trained:
    trainer, config = experiment.trainer, experiment.config
    if distributed.rank() > 0:
        summary = _summarise(experiment, "finished", "", {})
        follow(experiment, run, summary)
        return Trained(run, experiment, summary, writes=False)
    recorder = recorder_of(experiment, run, resumed_at=resumed_at, quiet=quiet)
    logger = recorder.logger
    trainer.watcher = looking_closer(recorder, logger, run, config.top.diagnose)
    _announce(experiment, run, logger, resumed_at)
    requests = stop or StopRequests()
    with _ending(experiment, run), closing(logger), memory_explained(trainer), recorder.saver, requests:
        requests.stop_after(config.trainer.stop_after_minutes)
        reason = trainer.fit(requests.reason)
        go_on = f"saved at step {trainer.step:,}; go on with: rnntrain resume {_quoted(run)}"
        if distributed.agreed(requests.reason()) is not None:
            write_summary(run, _summarise(experiment, requests.status, reason, {}).to_json())
            _show_early_end(experiment, run, requests.status)
            raise Interrupted(f"{reason}: {go_on}", reason)
        requests.end_at_once(go_on)
        summary = _conclude(experiment, run, logger, reason)
    return Trained(run, experiment, summary)


def _conclude(experiment: Experiment, run: RunDir, logger: Logger, reason: str) -> Summary:
    """Evaluate the weights that a run ends with, and write down what it came to."""
    trainer, config = experiment.trainer, experiment.config
    trainer.finish()
    if config.trainer.restore_best and trainer.best.value is not None:
        load_weights(experiment.model, load_checkpoint(best_checkpoint(run.checkpoints))["trainer"])
    elif trainer.average is not None:
        trainer.average.swap()
    distributed.copy_from_first(list(experiment.model.parameters()))
    summary = _summarise(experiment, "finished", reason, {})
    pictures = evaluate_finally(experiment, summary) | last_pictures(experiment)
    logger.pictures(trainer.step, {title: draw() for title, draw in pictures.items()}, run.pictures)
    logger.texts(trainer.step, summary.texts, final=True)
    leave_sounds_and_vectors(experiment, logger, run)
    logger.finished(summary.metrics, f"val/{experiment.task.monitor}")
    write_summary(run, summary.to_json())
    return summary


def recorder_of(experiment: Experiment, run: RunDir, *, resumed_at: int | None, quiet: bool) -> Recorder:
    """Return what writes down in the folder of a run what its trainer does."""
    logger = Logger(
        run.metrics,
        run.tensorboard,
        unit=experiment.data.unit,
        resumed_at=resumed_at,
        quiet=quiet,
        texts_path=run.texts,
        hyperparameters=configs.flatten(experiment.config.plain),
        pictures_over_time=run.pictures_over_time,
    )
    gradient_log = GradientLog() if experiment.config.top.diagnose == "gradients" else None
    return Recorder(run, logger, experiment.config.trainer.keep_checkpoints, gradient_log)


@contextmanager
def _ending(experiment: Experiment, run: RunDir) -> Iterator[None]:
    """Let the summary say how a run ended that ended before its time, and turn errors of the disk into one line."""
    try:
        yield
    except NonFiniteError as error:
        record = run.nonfinite / checkpoint_name(error.step)
        error.record = record if record.is_dir() else None
        _summarise_early(experiment, run, "failed", "not finite")
        raise
    except OutOfMemory:
        _summarise_early(experiment, run, "interrupted", "out of memory")
        raise
    except CheckpointWriteError:
        _summarise_early(experiment, run, "interrupted", "disk")
        raise
    except BrokenPipeError:  # it is what we print that nobody reads
        raise
    except OSError as error:
        _summarise_early(experiment, run, "interrupted", "disk")
        raise UserError(
            f"{error.filename or run.path}: {error.strerror or error}; the last checkpoint stands: free space or mend "
            f"the disk, then rnntrain resume {_quoted(run)}"
        ) from error


def _summarise_early(experiment: Experiment, run: RunDir, status: str, reason: str) -> None:
    with suppress(UserError):  # the disk may be what is full; the error under way says so
        write_summary(run, _summarise(experiment, status, reason, {}).to_json())
    _show_early_end(experiment, run, status)


def _show_early_end(experiment: Experiment, run: RunDir, status: str) -> None:
    """Let TensorBoard show that a run does not go on by itself."""
    if status in ("pruned", "failed"):
        with suppress(OSError):
            write_session(run.tensorboard, configs.flatten(experiment.config.plain), failed=True)


def _announce(experiment: Experiment, run: RunDir, logger: Logger, resumed_at: int | None) -> None:
    start = "Run" if resumed_at is None else f"Resumed at step {resumed_at:,}:"
    logger.message(f"{start} {run.path}")
    logger.message(experiment.data.describe())
    has_kernels = experiment.device.type != "cpu" or library.library_path().is_file()
    hint = "" if has_kernels else " (`rnntrain build` has faster)"
    logger.message(
        f"{experiment.config.cell_names}, {experiment.num_parameters:,} parameters, on {experiment.device} with "
        f"{experiment.threads} threads in {experiment.config.top.precision}, {experiment.kernels} kernels{hint}"
    )


def _summarise(experiment: Experiment, status: str, reason: str, metrics: dict[str, float]) -> Summary:
    trainer = experiment.trainer
    return Summary(
        status=status,
        reason=reason,
        step=trainer.step,
        epochs=trainer.epochs_done(),
        minutes=trainer.clock.seconds() / 60,
        units=trainer.units_seen,
        unit=experiment.data.unit,
        num_parameters=experiment.num_parameters,
        best_metric=experiment.task.monitor,
        best_value=trainer.best.value,
        best_step=trainer.best.step,
        metrics=metrics,
    )


def closing_lines(trained: Trained) -> list[str]:
    """Return what is printed at the end of a run: results, a sample, and the commands to try next."""
    folder, summary = _quoted(trained.run), trained.summary
    lines = ["", *summary.lines(folder)]
    for title, text in summary.texts.items():
        lines += ["", f"{title.capitalize()}:", *("    " + line for line in text.strip("\n").splitlines())]
    lines += ["", "Next:"]
    if trained.experiment.task.generates:
        lines.append(f"  rnntrain sample {folder}")
    lines.append(f"  rnntrain resume {folder} trainer.max_steps={2 * summary.step}")
    lines.append(f"  rnntrain report {folder}")
    lines.append(f"  rnntrain board {folder}")
    return lines


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


def _quoted(run: RunDir) -> str:
    return shlex.quote(str(run.path))
