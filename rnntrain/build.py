"""Turn a checked config into objects; the only place that does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from rnntrain.config import Component, Config
from rnntrain.data.base import Codec, DataSet
from rnntrain.data.first_batches import FirstBatches
from rnntrain.device import choose_device, keep_freed_memory, set_seeds, set_threads
from rnntrain.eager import defer_compiler
from rnntrain.errors import UserError
from rnntrain.models.backbone import CellFactory
from rnntrain.models.sequence import SequenceModel
from rnntrain.native import library
from rnntrain.parameter_groups import parameter_groups
from rnntrain.processes import distributed
from rnntrain.processes.joining import local_device
from rnntrain.settings import ByKind, GroupSettings
from rnntrain.tasks.base import Task
from rnntrain.trainer import Trainer
from rnntrain.watching.watcher import Watcher


@dataclass
class Experiment:
    """All objects of a run, in the order in which they were built."""

    config: Config
    device: torch.device
    threads: int
    kernels: str
    data: DataSet
    task: Task
    model: SequenceModel
    trainer: Trainer

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())


def build(config: Config, *, codec: Codec | None = None, watcher: Watcher | None = None) -> Experiment:
    """Build everything that a run needs; reads data, writes nothing.

    Args:
        codec: takes the place of one fitted on the training split, as a resumed run needs.

    Raises:
        UserError: if the data, the device or a combination of sizes will not do.
    """
    defer_compiler()
    set_seeds(config.top.seed, config.top.deterministic)
    threads = set_threads(config.top.threads)
    library.choose(config.top.kernels)
    keep_freed_memory()
    device = choose_device(local_device(config.device), config.top.precision)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # whose random numbers a checkpoint holds
    data: DataSet = config.data.build()
    data.load(codec)
    if config.trainer.overfit_batches is not None:
        data = FirstBatches(data, config.trainer.overfit_batches)
    task: Task = config.task.build()
    if not isinstance(data.codec, task.codec_type):
        raise UserError(
            f"task and data: {type(task).__name__} cannot use what {type(data).__name__} gives "
            f"({type(data.codec).__name__}); choose another data="
        )
    model = build_model(config, task, data.codec).to(device)
    if task.causal and model.backbone.bidirectional:
        what = "which cannot generate" if task.generates else "among them those it is to predict"
        raise UserError(f"model.cell: outputs depend on later inputs, {what}; set model.cell.causal=true")
    trainer = Trainer(
        model,
        task,
        data,
        _build_optimizer(config, model),
        config.schedule.build(),
        config.trainer,
        device=device,
        precision=config.top.precision,
        seed=config.top.seed,
        watcher=watcher,
    )
    _seed_apart(config.top.seed, distributed.rank())
    return Experiment(config, device, threads, library.chosen(), data, task, model, trainer)


def _seed_apart(seed: int, rank: int) -> None:
    """Let each of several processes draw dropout masks of its own, once all have drawn the same weights."""
    if rank:
        set_seeds((seed + rank * 0x9E3779B9) % 2**63, torch.are_deterministic_algorithms_enabled())


def build_model(config: Config, task: Task, codec: Codec) -> SequenceModel:
    """Build the model for the sizes that the codec was fitted with.

    Raises:
        UserError: if sizes do not fit each other.
    """

    def factory(component: Component) -> CellFactory:
        return lambda input_size, hidden_size: component.build(input_size=input_size, hidden_size=hidden_size)

    model: SequenceModel = config.model.build(
        input_layer=partial(task.input_layer, codec),
        head=partial(task.head, codec),
        cell=[factory(each) for each in config.cells] or factory(config.cell),
    )
    return model


def _build_optimizer(config: Config, model: SequenceModel) -> torch.optim.Optimizer:
    component, groups = config.optimizer, config.groups
    params: Any = list(model.parameters())
    # An optimizer that is told nothing of weight decay does as its own defaults say.
    if "weight_decay" in component.arguments or groups != GroupSettings():
        lr = None if groups.lr_by == ByKind() else component.value_of("lr")
        params = parameter_groups(model, component.value_of("weight_decay"), lr, groups)
    optimizer: torch.optim.Optimizer = component.build(params=params)
    return optimizer
