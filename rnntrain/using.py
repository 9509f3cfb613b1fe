"""Use what a run has trained: load its model, evaluate, sample and diagnose it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnntrain.build import build, build_model
from rnntrain.checkpoints.checkpoint import load_checkpoint
from rnntrain.checkpoints.durable import one_line
from rnntrain.checkpoints.saved_state import MISFITS, step_in
from rnntrain.config import Config
from rnntrain.data.codecs import TextCodec
from rnntrain.device import autocast, choose_device, set_threads
from rnntrain.errors import UserError
from rnntrain.judging import Judged, judge
from rnntrain.metrics import Table
from rnntrain.models.sequence import SequenceModel
from rnntrain.native import library
from rnntrain.optim import load_weights
from rnntrain.runs.contained import check_folder
from rnntrain.runs.recorded import anywhere, checkpoint_of, codec_of, config_of
from rnntrain.runs.run import RunDir, open_run
from rnntrain.sample import SamplingOptions, stream_text
from rnntrain.tasks.base import Carry, Task
from rnntrain.watching.gradient_log import diagnose_trainer, picture, table_lines, words

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor

# What may be other than when the run was trained: where it computes, and what it reads.
READABLE = ("device", "precision", "threads", "kernels", "plugins", "data.path", "data.val_path", "data.test_path")
# How files that the run has never seen are read, where not as its own.
READING = tuple(
    f"data.{key}"
    for key in (
        *("text", "label", "delimiter", "header", "quotes"),
        *("token_column", "tag_column", "comments", "bio", "alternatives"),
        *("time", "series", "gaps", "missing", "time_format", "time_zone", "eval_stride"),
        *("resample", "stereo", "pattern", "path_field", "text_field"),
    )
)


@dataclass
class Loaded:
    """The model of a run, with the weights that the run is judged by.

    Attributes:
        step: the step that the weights are from.
    """

    run: RunDir
    config: Config
    task: Task
    model: SequenceModel
    codec: Any
    step: int

    def predictor(self) -> Predictor:
        """Return what answers raw inputs with this model (see `rnntrain.predicting.predictor.Predictor`)."""
        return self.task.predictor(self.codec, self.model, self.config.data.arguments)

    def predict(self, raw: Iterable[Any]) -> list[dict[str, Any]]:
        """Return a plain record for each raw input: a text, tokens, a sound file, a history, numbers.

        Raises:
            UserError: an input is not what the model reads.
        """
        return self.predictor()(raw)

    def sample(self, prompt: str = "", **options: Any) -> str:
        """Return one text; `options` are those of `SamplingOptions`."""
        return "".join(self.stream(prompt, SamplingOptions(**options)))

    def stream(self, prompt: str, options: SamplingOptions) -> Iterator[str]:
        """Yield pieces of text as they are drawn.

        Raises:
            UserError: if the run's task does not generate, or the prompt is outside its vocabulary.
        """
        if not self.task.generates or not isinstance(self.codec, TextCodec):
            raise self._cannot_generate()
        return stream_text(self.model, self.codec, prompt, options)

    def compose(self, prompt: Sequence[Sequence[int]] = (), **options: Any) -> np.ndarray:
        """Return tunes ``[B, T, K]`` of zeros and ones by a model of music; `options` are those of `SamplingOptions`.

        Args:
            prompt: chords to go on from, each a list of MIDI pitches.

        Raises:
            UserError: if the run's task is not music, or a pitch is none of its keys.
        """
        from rnntrain.predicting.music import RollPredictor
        from rnntrain.predicting.tunes import CHORDS, compose

        predictor = self.predictor()
        if not isinstance(predictor, RollPredictor):
            raise self._cannot_generate()
        roll_TK = predictor.roll([list(chord) for chord in prompt], "the prompt") if prompt else np.zeros((0, 0))
        return compose(self.model, self.codec, roll_TK, SamplingOptions(**{"length": CHORDS, **options}))

    def _cannot_generate(self) -> UserError:
        name = type(self.task).__name__
        return UserError(
            f"{self.run.path}: a model trained for {name} cannot generate; sample takes models of text and of music"
        )


def load(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a run's best weights, its latest ones where it has not been evaluated, or those of a checkpoint in it.

    Reads no data set.

    Raises:
        UserError: if it is not a run, or its checkpoint is damaged.
    """
    run = open_run(Path(path))
    config = anywhere(config_of(run, overrides, (*READABLE, *READING)), overrides)
    tree = load_checkpoint(checkpoint_of(Path(path), run))
    task: Task = config.task.build()
    codec, step = codec_of(config, tree), step_in(tree)
    set_threads(config.top.threads)
    library.choose(config.top.kernels)
    device = choose_device(config.device, "float32")
    model = build_model(config, task, codec).to(device)
    _load_best_weights(model, tree, run)
    return Loaded(run, config, task, model.eval(), codec, step)


@dataclass
class Judgement:
    """How good a model is on a split, or on files that it has never seen.

    Attributes:
        metrics: by name, in every way that the task knows; of a split they begin with its name.
        judged: what the first way came to, row by row; `intervals` and `tables` tell of it.
        prefix: of the names of metrics.
    """

    metrics: dict[str, float]
    judged: Judged
    prefix: str

    def intervals(self, resamplings: int, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval of each metric of the first way, by bootstrap."""
        found = self.judged.intervals(resamplings, seed)
        return {f"{self.prefix}{name}": interval for name, interval in found.items()}

    def tables(self) -> dict[str, Table]:
        """Return metrics by class, type or step of the horizon, and by length."""
        return self.judged.tables()


def evaluate(path: Path, split: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Return the metrics of a run's best weights on one split, in every way that the task knows.

    Raises:
        UserError: if the data has no such split.
    """
    return judge_split(path, split, overrides, each_row=False).metrics


def judge_split(
    path: Path, split: str, overrides: Sequence[str] = (), *, each_row: bool = True, progress: bool = False
) -> Judgement:
    """Judge a run's best weights by one split of its data, whole, as its final evaluation does.

    Raises:
        UserError: if the data has no such split.
    """
    run = open_run(path)
    config = anywhere(config_of(run, overrides, READABLE), overrides)
    tree = load_checkpoint(checkpoint_of(path, run))
    experiment = build(config, codec=codec_of(config, tree))
    data = experiment.data
    if split not in data.splits:
        raise UserError(f"--split {split}: this data has {', '.join(data.splits)}")
    _load_best_weights(experiment.model, tree, run)
    most = config.trainer.eval_batches

    def passed(carry: Carry, rows: bool) -> Judged:
        return judge(
            experiment.model,
            experiment.task,
            experiment.task.metrics(data.codec),
            islice(data.eval_batches(split), most),
            carry=carry,
            autocast=partial(autocast, experiment.device, config.top.precision),
            each_row=rows,
            progress=progress,
        )

    return _in_every_way(experiment.task, passed, f"{split}/", each_row)


def judge_files(
    path: Path,
    files: Sequence[str],
    overrides: Sequence[str] = (),
    split: str | None = None,
    *,
    progress: bool = False,
) -> Judgement:
    """Judge a run's best weights by labelled files that it has never seen.

    Args:
        files: of the kind that the run was trained on, labels and all.
        split: of an archive of arrays that holds several.

    Raises:
        UserError: names file and line of what cannot be read, or has a label that the model never saw.
    """
    from rnntrain.predicting.readers.finding import examples_of, items_of
    from rnntrain.predicting.readers.items import Reading

    loaded = load(path, overrides)
    predictor = loaded.predictor()
    reading = Reading(loaded.config.data.arguments, labelled=True, split=split)
    examples = list(examples_of(predictor, items_of(predictor, files, reading), labelled=True))
    if not examples:
        raise UserError(f"{', '.join(files)}: holds no example; give one or more")
    device = next(loaded.model.parameters()).device

    def passed(carry: Carry, rows: bool) -> Judged:
        return judge(
            loaded.model,
            loaded.task,
            loaded.task.metrics(loaded.codec),
            predictor.judging(examples),
            carry=carry,
            autocast=partial(autocast, device, loaded.config.top.precision),
            each_row=rows,
            progress=progress,
        )

    judgement = _in_every_way(loaded.task, passed, "", True)
    reading.tell()
    return judgement


def _in_every_way(task: Task, passed: Callable[[Carry, bool], Judged], prefix: str, each_row: bool) -> Judgement:
    """Evaluate in every way that a task knows; metrics are named as `rnntrain.evaluation.evaluate_all` names them."""
    metrics: dict[str, float] = {}
    first: Judged | None = None
    for way, carry in task.evaluations().items():
        judged = passed(carry, each_row and first is None)
        values = judged.metrics.compute()
        if first is None:
            first = judged
            metrics |= {f"{prefix}{name}": value for name, value in values.items()}
        if way:
            metrics |= {f"{prefix}{name}_{way}": value for name, value in values.items()}
    assert first is not None
    return Judgement(metrics, first, prefix)


def diagnose(path: Path, folder: Path | None = None, overrides: Sequence[str] = ()) -> list[str]:
    """Measure how far back the gradients of a run's best weights reach; write the picture, return lines to print.

    Args:
        folder: where the picture goes; the run's own folder of pictures by default.

    Raises:
        UserError: if the model cannot run step by step.
    """
    run = open_run(path)
    config = config_of(run, overrides, READABLE)
    tree = load_checkpoint(checkpoint_of(path, run))
    experiment = build(config, codec=codec_of(config, tree))
    _load_best_weights(experiment.model, tree, run)
    diagnoses = diagnose_trainer(experiment.trainer)
    if folder is None:
        folder = run.pictures
        check_folder(folder)
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        picture(diagnoses)().savefig(folder / "gradients_by_lag.png", dpi=120)
    return [*table_lines(diagnoses), "", words(diagnoses), f"picture: {folder / 'gradients_by_lag.png'}"]


def _load_best_weights(model: SequenceModel, tree: dict[str, Any], run: RunDir) -> None:
    try:
        load_weights(model, tree["trainer"])
    except MISFITS as error:
        raise UserError(
            f"{run.path}: its checkpoint does not fit its config: {' '.join(str(error).split())[:200]}"
        ) from error
