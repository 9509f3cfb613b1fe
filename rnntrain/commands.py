"""Train, resume, evaluate and sample: what the command line and Python code call."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.build import Experiment, build, build_model
from rnntrain.checkpoint import CheckpointError, latest_valid, load_checkpoint
from rnntrain.config import Config
from rnntrain.data.base import Codec
from rnntrain.data.codecs import TextCodec
from rnntrain.device import choose_device, set_threads
from rnntrain.durable import one_line, remove_stale
from rnntrain.errors import Interrupted, NonFiniteError, UserError
from rnntrain.generators import restore_generators
from rnntrain.gradient_log import GradientLog, diagnose_trainer, picture, table_lines, words
from rnntrain.interrupt import StopRequests
from rnntrain.lock import is_held
from rnntrain.logger import Logger
from rnntrain.metrics import Picture
from rnntrain.models.sequence import SequenceModel
from rnntrain.recorder import Recorder
from rnntrain.retention import best_checkpoint, read_best
from rnntrain.run import (
    RunDir,
    create_run,
    find_runs,
    open_run,
    read_config_text,
    read_start,
    record_resume,
    record_start,
    truncate_after_step,
    write_summary,
)
from rnntrain.sample import SamplingOptions, stream_text
from rnntrain.summary import Summary
from rnntrain.tasks.base import Task
from rnntrain.trainer import load_weights

# What may change when a run goes on: its limits and where it computes. All else would make it another run.
RESUMABLE = ("trainer.", "device", "threads", "plugins", "data.path", "deterministic")
READABLE = ("device", "precision", "threads", "plugins", "data.path", "data.val_path", "data.test_path")


@dataclass
class Trained:
    """A run that has come to its end, with the model in memory."""

    run: RunDir
    experiment: Experiment
    summary: Summary


@dataclass
class Loaded:
    """The model of a run, with the weights that the run is judged by.

    Attributes:
        step: the step that the weights are from.
    """

    run: RunDir
    config: Config
    model: SequenceModel
    codec: Any
    step: int

    def sample(self, prompt: str = "", **options: Any) -> str:
        """Return one text; `options` are those of `SamplingOptions`."""
        return "".join(self.stream(prompt, SamplingOptions(**options)))

    def stream(self, prompt: str, options: SamplingOptions) -> Iterator[str]:
        """Yield pieces of text as they are drawn.

        Raises:
            UserError: if the run's task does not generate, or the prompt is outside its vocabulary.
        """
        if not self.config.task.build().generates or not isinstance(self.codec, TextCodec):
            name = self.config.task.cls.__name__
            raise UserError(
                f"{self.run.path}: a model trained for {name} cannot generate; sample takes language models"
            )
        return stream_text(self.model, self.codec, prompt, options)


# -- training ---


def train(config: Config, *, quiet: bool = False) -> Trained:
    """Train a new run; nothing is written before everything has been checked and built.

    Raises:
        UserError: for what the user can mend.
        Interrupted: after a signal; the run has been saved.
    """
    experiment = build(config)
    settings = config.run
    run = create_run(
        Path(settings.root),
        str(settings.group),
        settings.name,
        None if settings.dir is None else Path(settings.dir),
    )
    with run.lock():
        record_start(run, configs.to_yaml(config.plain), experiment.data.fingerprint())
        return _run_to_end(experiment, run, resumed_at=None, quiet=quiet)


def resume(path: Path, overrides: Sequence[str] = (), *, quiet: bool = False) -> Trained:
    """Go on with a run in its own folder from its newest checkpoint that verifies.

    Raises:
        UserError: if there is no such run, it is being written, or an override would make it another run.
        Interrupted: after a signal; the run has been saved.
    """
    run = open_run(path)
    with run.lock():
        remove_stale(run.path)
        config = _config_of(run, overrides, RESUMABLE)
        checkpoint = _latest(run)
        tree = load_checkpoint(checkpoint)
        experiment = build(config, codec=_codec(config, tree))
        _warn_of_changes(run, experiment)
        _restore(experiment, tree, checkpoint)
        _refuse_if_ended(run, experiment)
        truncate_after_step(run.metrics, experiment.trainer.step)
        record_resume(run, configs.to_yaml(config.plain), experiment.trainer.step)
        return _run_to_end(experiment, run, resumed_at=experiment.trainer.step, quiet=quiet)


def _restore(experiment: Experiment, tree: dict[str, Any], checkpoint: Path) -> None:
    try:
        experiment.trainer.load_state_dict(tree["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{checkpoint}: does not fit the run's config: {' '.join(str(error).split())[:200]}") from error
    for warning in restore_generators(tree["generators"]):
        _warn(warning)


def _refuse_if_ended(run: RunDir, experiment: Experiment) -> None:
    """Refuse a run that has come to its end under the limits that it has now.

    Raises:
        UserError: names the limit that must be raised.
    """
    limit = experiment.trainer.limit_reached()
    if limit is not None and _has_ended(run):
        value = getattr(experiment.config.trainer, limit)
        raise UserError(
            f"{run.path}: ended at step {experiment.trainer.step:,} by {limit}; to go on, raise it from "
            f"trainer.{limit}={value:g}"
        )


def _run_to_end(experiment: Experiment, run: RunDir, *, resumed_at: int | None, quiet: bool) -> Trained:
    trainer, config = experiment.trainer, experiment.config
    logger = Logger(run.metrics, run.tensorboard, unit=experiment.data.unit, resumed_at=resumed_at, quiet=quiet)
    gradient_log = GradientLog() if config.top.diagnose == "gradients" else None
    recorder = Recorder(run, logger, config.trainer.keep_checkpoints, gradient_log)
    trainer.watcher = recorder
    _announce(experiment, run, logger, resumed_at)
    try:
        with StopRequests() as requests:
            reason = _fit(experiment, run, requests)
        if requests.reason() is not None:
            write_summary(run, _summarise(experiment, "interrupted", reason, {}).to_json())
            raise Interrupted(f"{reason}: saved at step {trainer.step:,}; go on with: rnntrain resume {_quoted(run)}")
        trainer.finish()
        if config.trainer.restore_best and trainer.best.value is not None:
            load_weights(experiment.model, load_checkpoint(best_checkpoint(run.checkpoints))["trainer"])
        elif trainer.average is not None:
            trainer.average.swap()
        summary = _summarise(experiment, "finished", reason, {})
        pictures = _evaluate_finally(experiment, summary)
        logger.pictures(trainer.step, {title: draw() for title, draw in pictures.items()}, run.pictures)
        logger.hyperparameters(configs.flatten(config.plain), summary.metrics)
        write_summary(run, summary.to_json())
    finally:
        logger.close()
    return Trained(run, experiment, summary)


def _fit(experiment: Experiment, run: RunDir, requests: StopRequests) -> str:
    try:
        return experiment.trainer.fit(requests.reason)
    except NonFiniteError:
        write_summary(run, _summarise(experiment, "failed", "not finite", {}).to_json())
        raise


def _announce(experiment: Experiment, run: RunDir, logger: Logger, resumed_at: int | None) -> None:
    start = "Run" if resumed_at is None else f"Resumed at step {resumed_at:,}:"
    logger.message(f"{start} {run.path}")
    logger.message(experiment.data.describe())
    logger.message(
        f"{experiment.config.cell_names}, {experiment.num_parameters:,} parameters, on {experiment.device} with "
        f"{experiment.threads} threads in {experiment.config.top.precision}"
    )


def _evaluate_finally(experiment: Experiment, summary: Summary) -> dict[str, Picture]:
    """Evaluate the weights that the run ends with on val, and on test where there is one; return the pictures."""
    task, data = experiment.task, experiment.data
    pictures: dict[str, Picture] = {}
    for split in ("val", "test"):
        if split in data.splits:
            metrics, drawn = _evaluate_all(experiment, split)
            summary.metrics |= metrics
            pictures |= drawn
            for method, values in task.baselines(data, split).items():
                named = summary.baselines.setdefault(method, {})
                named |= {f"{split}/{name}": value for name, value in values.items()}
    for title, shown in task.illustrate(experiment.model, data, experiment.config.top.seed).items():
        if isinstance(shown, str):
            summary.texts[title] = shown
        else:
            pictures[title] = shown
    return pictures


def _evaluate_all(experiment: Experiment, split: str) -> tuple[dict[str, float], dict[str, Picture]]:
    """Evaluate in every way that the task knows; return metrics and pictures by name.

    Metrics are named `split/name` for the first way, and `split/name_way` for every named one.
    """
    metrics: dict[str, float] = {}
    pictures: dict[str, Picture] = {}
    for number, (way, carry) in enumerate(experiment.task.evaluations().items()):
        measured = experiment.trainer.measure(split, carry)
        values = measured.compute()
        if number == 0:
            metrics |= {f"{split}/{name}": value for name, value in values.items()}
            pictures = {f"{split}/{title}": drawn for title, drawn in measured.pictures().items()}
        if way:
            metrics |= {f"{split}/{name}_{way}": value for name, value in values.items()}
    return metrics, pictures


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


# -- using what was trained ---


def load(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a run's best weights, its latest ones where it has not been evaluated, or those of a checkpoint in it.

    Reads no data set.

    Raises:
        UserError: if it is not a run, or its checkpoint is damaged.
    """
    run = open_run(Path(path))
    config = _config_of(run, overrides, READABLE)
    tree = load_checkpoint(_checkpoint_of(Path(path), run))
    task = config.task.build()
    codec = task.codec_type.from_state(tree["codec"])
    set_threads(config.top.threads)
    device = choose_device(config.device, "float32")
    model = build_model(config, task, codec).to(device)
    _load_best_weights(model, tree, run)
    return Loaded(run, config, model.eval(), codec, tree["trainer"]["step"])


def sample(path: Path, prompt: str, options: SamplingOptions, overrides: Sequence[str] = ()) -> Iterator[str]:
    """Yield pieces of text drawn from a trained language model."""
    return load(path, overrides).stream(prompt, options)


def evaluate(path: Path, split: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Return the metrics of a run's best weights on one split, in every way that the task knows.

    Raises:
        UserError: if the data has no such split.
    """
    run = open_run(path)
    config = _config_of(run, overrides, READABLE)
    tree = load_checkpoint(_checkpoint_of(path, run))
    experiment = build(config, codec=_codec(config, tree))
    if split not in experiment.data.splits:
        raise UserError(f"--split {split}: this data has {', '.join(experiment.data.splits)}")
    _load_best_weights(experiment.model, tree, run)
    return _evaluate_all(experiment, split)[0]


def diagnose(path: Path, folder: Path | None = None, overrides: Sequence[str] = ()) -> list[str]:
    """Measure how far back the gradients of a run's best weights reach; write the picture, return lines to print.

    Args:
        folder: where the picture goes; the run's own folder of pictures by default.

    Raises:
        UserError: if the model cannot run step by step.
    """
    run = open_run(path)
    config = _config_of(run, overrides, READABLE)
    tree = load_checkpoint(_checkpoint_of(path, run))
    experiment = build(config, codec=_codec(config, tree))
    _load_best_weights(experiment.model, tree, run)
    diagnoses = diagnose_trainer(experiment.trainer)
    folder = run.pictures if folder is None else folder
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        picture(diagnoses)().savefig(folder / "gradients_by_lag.png", dpi=120)
    return [*table_lines(diagnoses), "", words(diagnoses), f"picture: {folder / 'gradients_by_lag.png'}"]


def _codec(config: Config, tree: dict[str, Any]) -> Codec:
    task: Task = config.task.build()
    return task.codec_type.from_state(tree["codec"])


def _checkpoint_of(path: Path, run: RunDir) -> Path:
    """Return the checkpoint that the user named, or the best one of the run, or the latest where none is the best."""
    if path.resolve().parent == run.checkpoints.resolve():
        return path
    if read_best(run.checkpoints) is None:
        return _latest(run)
    return best_checkpoint(run.checkpoints)


def _latest(run: RunDir) -> Path:
    """Return the newest checkpoint that verifies, and warn of those that do not."""
    damaged: list[CheckpointError] = []
    checkpoint = latest_valid(run.checkpoints, damaged.append)
    for error in damaged:  # where none verifies, the one error says so of all
        _warn(f"{error}; taking the one before")
    return checkpoint


def _load_best_weights(model: SequenceModel, tree: dict[str, Any], run: RunDir) -> None:
    try:
        load_weights(model, tree["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{run.path}: its checkpoint does not fit its config: {' '.join(str(error).split())[:200]}"
        ) from error


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


def latest_interrupted(root: Path = Path("outputs")) -> Path:
    """Return the run below `root` that was stopped last before its end: by a signal, a crash, or power that failed.

    Raises:
        UserError: if there is none.
    """
    unfinished = [run for run in map(RunDir, find_runs(root)) if not is_held(run.lock_file) and not _has_ended(run)]
    if not unfinished:
        raise UserError(f"resume: no interrupted run lies in {root}; name the run: rnntrain resume RUN")
    return max(unfinished, key=lambda run: run.info.stat().st_mtime).path


def _has_ended(run: RunDir) -> bool:
    try:
        # A run that went on after its summary was written has not ended by what that says.
        if run.summary.stat().st_mtime < run.info.stat().st_mtime:
            return False
        return bool(json.loads(run.summary.read_text(encoding="utf-8"))["status"] != "interrupted")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _config_of(run: RunDir, overrides: Sequence[str], allowed: tuple[str, ...]) -> Config:
    """Return the checked config of a run, with overrides of the allowed keys.

    A recorded plugin is not imported because the record says so: the user names it again.
    """
    plain = configs.from_yaml(read_config_text(run), str(run.config))
    recorded = plain.get("plugins") or []
    if not isinstance(recorded, list):
        raise UserError(f"{run.config}: plugins={recorded}: expected a list; restore the file from a copy of the run")
    plain["plugins"] = []
    plain = configs.override(plain, overrides, allowed)
    named = plain["plugins"] if isinstance(plain["plugins"], list) else []
    unnamed = [name for name in recorded if name not in named]
    if unnamed:
        raise UserError(
            f"{run.path}: uses classes of {', '.join(map(str, unnamed))}, which are only imported when you name them: "
            f"add plugins=[{','.join(map(str, recorded))}]"
        )
    return configs.check(plain)


def _warn_of_changes(run: RunDir, experiment: Experiment) -> None:
    """Say what makes the coming steps differ from those of a run that had never stopped."""
    recorded = read_start(run)
    if recorded.get("data") != experiment.data.fingerprint():
        _warn("the data is not what the run was started on; its results will differ")
    before = recorded.get("environment", {})
    for name, now in _bits_depend_on(experiment).items():
        if name in before and before[name] != now:
            _warn(f"{name} was {before[name]} and is {now}: the last bits of the results may differ")


def _bits_depend_on(experiment: Experiment) -> dict[str, Any]:
    import torch

    return {"torch": str(torch.__version__), "threads": experiment.threads}


def _warn(text: str) -> None:
    print(f"rnntrain: warning: {text}", file=sys.stderr, flush=True)


def _quoted(run: RunDir) -> str:
    return shlex.quote(str(run.path))
