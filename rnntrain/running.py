"""A run from where its trainer stands to its end: announced, trained, judged and summed up, however it ends."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from rnntrain import config as configs
from rnntrain.build import Experiment
from rnntrain.checkpoints.checkpoint import CheckpointWriteError, checkpoint_name, load_checkpoint
from rnntrain.checkpoints.retention import best_checkpoint
from rnntrain.errors import Interrupted, NonFiniteError, UserError
from rnntrain.evaluation import evaluate_finally
from rnntrain.interrupt import StopRequests
from rnntrain.native import library
from rnntrain.optim import load_weights
from rnntrain.out_of_memory import OutOfMemory, memory_explained
from rnntrain.processes import distributed
from rnntrain.processes.following import follow
from rnntrain.runs.run import RunDir, write_summary
from rnntrain.runs.summary import Summary
from rnntrain.watching.gradient_log import GradientLog
from rnntrain.watching.hparams import write_session
from rnntrain.watching.logger import Logger
from rnntrain.watching.looking_closer import last_pictures, leave_sounds_and_vectors, looking_closer
from rnntrain.watching.recorder import Recorder


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


def run_to_end(
    experiment: Experiment, run: RunDir, *, resumed_at: int | None, quiet: bool, stop: StopRequests | None
) -> Trained:
    """Train a run that stands ready, and write down what it came to; the run's lock is held by whoever calls.

    Args:
        resumed_at: the step that it goes on from; None of a new one.
        stop: what else than a signal may ask the run to stop.

    Raises:
        Interrupted: after a signal or a limit of the process; the run has been saved.
        UserError: a step was not finite, the memory or the disk ran out.
    """
    trainer, config = experiment.trainer, experiment.config
    if distributed.rank() > 0:
        summary = _summarise(experiment, "finished", "")
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
            write_summary(run, _summarise(experiment, requests.status, reason).to_json())
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
    summary = _summarise(experiment, "finished", reason)
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
        write_summary(run, _summarise(experiment, status, reason).to_json())
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


def _summarise(experiment: Experiment, status: str, reason: str) -> Summary:
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
        metrics={},
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


def _quoted(run: RunDir) -> str:
    return shlex.quote(str(run.path))
