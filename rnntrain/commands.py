"""Train a run, go on with one, check a config: what the command line and Python code call."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain import distributed
from rnntrain.build import Experiment, build
from rnntrain.checkpoint import CheckpointWriteError, checkpoint_name, find_checkpoints, load_checkpoint
from rnntrain.config import Config
from rnntrain.durable import remove_stale
from rnntrain.errors import Finished, Interrupted, NonFiniteError, UserError
from rnntrain.evaluation import evaluate_finally
from rnntrain.following import follow
from rnntrain.gradient_log import GradientLog
from rnntrain.interrupt import StopRequests
from rnntrain.job import run_of_this_job
from rnntrain.logger import Logger
from rnntrain.native import library
from rnntrain.out_of_memory import OutOfMemory, memory_explained
from rnntrain.recorded import (
    as_it_began,
    codec_of,
    config_of,
    has_ended,
    latest_checkpoint,
    warn,
    warn_of_changes,
)
from rnntrain.recorder import Recorder
from rnntrain.retention import best_checkpoint
from rnntrain.run import RunDir, create_run, open_run, record_resume, record_start, truncate_after_step, write_summary
from rnntrain.settings import RunSettings
from rnntrain.summary import Summary
from rnntrain.threads import fastest_threads
from rnntrain.trainer import load_weights

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
    with distributed.joined(config.device):
        before = distributed.from_first(lambda: _begun_before(config))
        if before is not None:
            return _resume(RunDir(Path(before)), (), quiet=quiet, stop=stop, from_start=True)
        with memory_explained():
            experiment = build(config)
            if config.top.threads == "auto":
                experiment.threads = fastest_threads(experiment.trainer, config.top.precision)
        distributed.check_alike({"config": config.plain, "data": experiment.data.fingerprint()})
        run = RunDir(Path(distributed.from_first(lambda: str(_new_run(config.run).path))))
        with _written_by_first(run):
            if distributed.rank() == 0:
                record_start(run, configs.to_yaml(config.plain), experiment.data.fingerprint())
            return _run_to_end(experiment, run, resumed_at=None, quiet=quiet, stop=stop)


def _begun_before(config: Config) -> str | None:
    run = run_of_this_job(config)
    if run is not None and has_ended(run):
        raise Finished(f"{run.path}: has come to its end before")
    return None if run is None else str(run.path)


def _new_run(settings: RunSettings) -> RunDir:
    return create_run(
        Path(settings.root),
        str(settings.group),
        settings.name,
        None if settings.dir is None else Path(settings.dir),
    )


def _written_by_first(run: RunDir) -> AbstractContextManager[None]:
    return run.lock() if distributed.rank() == 0 else nullcontext()


def resume(
    path: Path, overrides: Sequence[str] = (), *, quiet: bool = False, stop: StopRequests | None = None
) -> Trained:
    """Go on with a run in its own folder from its newest checkpoint that verifies.

    Args:
        stop: what else than a signal may ask the run to stop.

    Raises:
        UserError: if there is no such run, it is being written, or an override would make it another run.
        Interrupted: after a signal; the run has been saved.
    """
    run = open_run(path)
    with distributed.joined(config_of(run, overrides, RESUMABLE).device):
        return _resume(run, overrides, quiet=quiet, stop=stop)


def _resume(
    run: RunDir, overrides: Sequence[str], *, quiet: bool, stop: StopRequests | None, from_start: bool = False
) -> Trained:
    """Go on from the newest checkpoint; `from_start` allows that there is none yet."""
    config = as_it_began(run, config_of(run, overrides, RESUMABLE))
    with _written_by_first(run):
        checkpoint = distributed.from_first(lambda: _newest(run, from_start))
        tree = None if checkpoint is None else load_checkpoint(Path(checkpoint))
        with memory_explained():
            experiment = build(config, codec=None if tree is None else codec_of(config, tree))
        distributed.check_alike({"config": config.plain, "data": experiment.data.fingerprint()})
        if tree is not None:
            _restore(experiment, tree, Path(str(checkpoint)))
        distributed.from_first(lambda: _note_resume(run, experiment))
        return _run_to_end(experiment, run, resumed_at=experiment.trainer.step, quiet=quiet, stop=stop)


def _newest(run: RunDir, from_start: bool) -> str | None:
    remove_stale(run.path)
    if from_start and not find_checkpoints(run.checkpoints):
        return None
    return str(latest_checkpoint(run))


def _note_resume(run: RunDir, experiment: Experiment) -> None:
    step = experiment.trainer.step
    warn_of_changes(run, experiment)
    _refuse_if_ended(run, experiment)
    truncate_after_step(run.metrics, step)
    record_resume(run, configs.to_yaml(experiment.config.plain), step)


def _restore(experiment: Experiment, tree: dict[str, Any], checkpoint: Path) -> None:
    try:
        experiment.trainer.load_state_dict(tree["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{checkpoint}: does not fit the run's config: {' '.join(str(error).split())[:200]}") from error
    for warning in distributed.restore_own_generators(tree):
        warn(warning)


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
    logger = Logger(run.metrics, run.tensorboard, unit=experiment.data.unit, resumed_at=resumed_at, quiet=quiet)
    gradient_log = GradientLog() if config.top.diagnose == "gradients" else None
    recorder = Recorder(run, logger, config.trainer.keep_checkpoints, gradient_log)
    trainer.watcher = recorder
    _announce(experiment, run, logger, resumed_at)
    with _ending(experiment, run), closing(logger), memory_explained(trainer), recorder.saver:
        with stop or StopRequests() as requests:
            reason = trainer.fit(requests.reason)
        if distributed.agreed(requests.reason()) is not None:
            write_summary(run, _summarise(experiment, requests.status, reason, {}).to_json())
            text = f"{reason}: saved at step {trainer.step:,}; go on with: rnntrain resume {_quoted(run)}"
            raise Interrupted(text, reason)
        trainer.finish()
        if config.trainer.restore_best and trainer.best.value is not None:
            load_weights(experiment.model, load_checkpoint(best_checkpoint(run.checkpoints))["trainer"])
        elif trainer.average is not None:
            trainer.average.swap()
        distributed.copy_from_first(list(experiment.model.parameters()))
        summary = _summarise(experiment, "finished", reason, {})
        pictures = evaluate_finally(experiment, summary)
        logger.pictures(trainer.step, {title: draw() for title, draw in pictures.items()}, run.pictures)
        logger.hyperparameters(configs.flatten(config.plain), summary.metrics)
        write_summary(run, summary.to_json())
    return Trained(run, experiment, summary)


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
        minutes=trainer.seconds() / 60,
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
    lines.append(f"  tensorboard --logdir {folder}")
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
