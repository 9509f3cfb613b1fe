"""Use what a run has trained: load its model, evaluate, sample and diagnose it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain.build import build, build_model
from rnntrain.checkpoint import load_checkpoint
from rnntrain.config import Config
from rnntrain.data.codecs import TextCodec
from rnntrain.device import choose_device, set_threads
from rnntrain.durable import one_line
from rnntrain.errors import UserError
from rnntrain.evaluation import evaluate_all
from rnntrain.gradient_log import diagnose_trainer, picture, table_lines, words
from rnntrain.models.sequence import SequenceModel
from rnntrain.native import library
from rnntrain.recorded import checkpoint_of, codec_of, config_of
from rnntrain.run import RunDir, open_run
from rnntrain.sample import SamplingOptions, stream_text
from rnntrain.tasks.base import Task
from rnntrain.trainer import load_weights

if TYPE_CHECKING:
    from rnntrain.predicting.predictor import Predictor

# What may be other than when the run was trained: where it computes, and what it reads.
READABLE = ("device", "precision", "threads", "kernels", "plugins", "data.path", "data.val_path", "data.test_path")


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
            name = self.config.task.cls.__name__
            raise UserError(
                f"{self.run.path}: a model trained for {name} cannot generate; sample takes language models"
            )
        return stream_text(self.model, self.codec, prompt, options)


def load(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a run's best weights, its latest ones where it has not been evaluated, or those of a checkpoint in it.

    Reads no data set.

    Raises:
        UserError: if it is not a run, or its checkpoint is damaged.
    """
    run = open_run(Path(path))
    config = config_of(run, overrides, READABLE)
    tree = load_checkpoint(checkpoint_of(Path(path), run))
    task: Task = config.task.build()
    codec = task.codec_type.from_state(tree["codec"])
    set_threads(config.top.threads)
    library.choose(config.top.kernels)
    device = choose_device(config.device, "float32")
    model = build_model(config, task, codec).to(device)
    _load_best_weights(model, tree, run)
    return Loaded(run, config, task, model.eval(), codec, tree["trainer"]["step"])


def sample(path: Path, prompt: str, options: SamplingOptions, overrides: Sequence[str] = ()) -> Iterator[str]:
    """Yield pieces of text drawn from a trained language model."""
    return load(path, overrides).stream(prompt, options)


def evaluate(path: Path, split: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Return the metrics of a run's best weights on one split, in every way that the task knows.

    Raises:
        UserError: if the data has no such split.
    """
    run = open_run(path)
    config = config_of(run, overrides, READABLE)
    tree = load_checkpoint(checkpoint_of(path, run))
    experiment = build(config, codec=codec_of(config, tree))
    if split not in experiment.data.splits:
        raise UserError(f"--split {split}: this data has {', '.join(experiment.data.splits)}")
    _load_best_weights(experiment.model, tree, run)
    return evaluate_all(experiment, split)[0]


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
    folder = run.pictures if folder is None else folder
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        picture(diagnoses)().savefig(folder / "gradients_by_lag.png", dpi=120)
    return [*table_lines(diagnoses), "", words(diagnoses), f"picture: {folder / 'gradients_by_lag.png'}"]


def _load_best_weights(model: SequenceModel, tree: dict[str, Any], run: RunDir) -> None:
    try:
        load_weights(model, tree["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{run.path}: its checkpoint does not fit its config: {' '.join(str(error).split())[:200]}"
        ) from error
