"""TensorBoard's HParams tab shows every run once, with how it stands, whether it has finished or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commandline import TINY

from rnntrain import commands
from rnntrain import config as configs
from rnntrain.config import compose
from rnntrain.errors import Interrupted, NonFiniteError
from rnntrain.interrupt import StopRequests
from rnntrain.watching.hparams import SESSION
from rnntrain.watching.logger import Logger


class Shown(NamedTuple):
    """What the tab shows of a run."""

    status: str
    hyperparameters: dict[str, Any]
    metrics: dict[str, float]


def shown(logdir: Path) -> dict[str, Shown]:
    """Return what TensorBoard's HParams tab lists of a folder of runs, by its name for each."""
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    events = plugin_event_multiplexer.EventMultiplexer()
    events.AddRunsFromDirectory(str(logdir))
    events.Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(logdir))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    asked = context.RequestContext()
    found = get_experiment.Handler(asked, backend, "", api_pb2.GetExperimentRequest()).run()
    request = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=api_pb2.Status.values())
    for each in found.hparam_infos:
        request.col_params.add(hparam=each.name)
    for each in found.metric_infos:
        request.col_params.add(metric=each.name)
    groups = list_session_groups.Handler(asked, backend, "", request).run().session_groups
    return {
        group.name.partition("/")[0]: Shown(
            api_pb2.Status.Name(group.sessions[0].status).removeprefix("STATUS_").lower(),
            {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()},
            {each.name.tag: each.value for each in group.metric_values},
        )
        for group in groups
    }


def train(run: str, *words: str, stop: StopRequests | None = None) -> None:
    commands.train(configs.check(compose([*TINY, f"run.dir=runs/{run}", *words])), quiet=True, stop=stop)


def asked_to_stop(status: str) -> StopRequests:
    stop = StopRequests()
    stop.ask("as the test asks", status)
    return stop


def test_runs_stand_side_by_side_with_their_final_metrics(workspace: Path) -> None:
    (workspace / "runs").mkdir()
    for number, lr in enumerate((0.01, 0.1)):
        train(f"run{number}", f"optimizer.lr={lr}")
    found = shown(workspace / "runs")
    assert found.keys() == {"run0", "run1"}
    for number, lr in enumerate((0.01, 0.1)):
        summary = json.loads((workspace / f"runs/run{number}/summary.json").read_text())
        status, hyperparameters, metrics = found[f"run{number}"]
        assert (status, hyperparameters["optimizer.lr"]) == ("success", lr)
        assert metrics["final/val/loss"] == pytest.approx(summary["val/loss"], rel=1e-6)
        assert not (workspace / f"runs/run{number}/tensorboard" / SESSION).exists()


def test_every_run_is_shown_with_how_it_stands_and_its_last_metric(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside one that has finished, whose columns are then those of all."""
    (workspace / "runs").mkdir()
    scalars = Logger.scalars

    def copy_in_progress(self: Logger, step: int, values: dict[str, float], final: bool = False) -> None:
        scalars(self, step, values, final)
        if step == 2 and "val/loss" in values:
            self.flush()
            shutil.copytree("runs/whole", "runs/under_way", dirs_exist_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(Logger, "scalars", copy_in_progress)
        train("whole", "optimizer.lr=0.01")
    for status in ("pruned", "interrupted"):
        with pytest.raises(Interrupted):
            train(status, "trainer.eval_every_steps=1", "optimizer.lr=0.02", stop=asked_to_stop(status))
    with pytest.raises(NonFiniteError):
        train("failed", "optimizer.lr=1e30", "trainer.eval_every_steps=1", "trainer.grad_clip_mode=none")
    for only_unfinished in (False, True):
        found = shown(workspace / "runs")
        assert {name: each.status for name, each in found.items() if name != "whole"} == {
            "under_way": "unknown",
            "pruned": "failure",
            "interrupted": "unknown",
            "failed": "failure",
        }
        assert found["pruned"].hyperparameters["optimizer.lr"] == 0.02
        for name in ("under_way", "pruned", "interrupted"):
            lines = [json.loads(line) for line in Path(f"runs/{name}/metrics.jsonl").read_text().splitlines()]
            last = [line["val/loss"] for line in lines if "val/loss" in line][-1]
            assert found[name].metrics["val/loss"] == pytest.approx(last, rel=1e-6)
        if not only_unfinished:
            assert found["whole"].status == "success"
            shutil.rmtree("runs/whole")


@pytest.mark.parametrize("status", ["pruned", "interrupted"])
def test_a_run_that_goes_on_to_its_end_is_shown_as_one_that_never_stopped(status: str, workspace: Path) -> None:
    (workspace / "runs").mkdir()
    train("whole")
    with pytest.raises(Interrupted):
        train("resumed", stop=asked_to_stop(status))
    commands.resume(Path("runs/resumed"), quiet=True)
    found = shown(workspace / "runs")
    whole, resumed = found["whole"], found["resumed"]
    assert resumed.status == whole.status == "success"
    assert resumed.metrics == whole.metrics
    assert {key for key in whole.hyperparameters if whole.hyperparameters[key] != resumed.hyperparameters[key]} == {
        "run.dir"
    }


def test_a_run_that_goes_on_is_no_failure_any_more(workspace: Path) -> None:
    (workspace / "runs").mkdir()
    with pytest.raises(Interrupted):
        train("run", stop=asked_to_stop("pruned"))
    with pytest.raises(Interrupted):
        commands.resume(Path("runs/run"), ["trainer.max_steps=6"], quiet=True, stop=asked_to_stop("interrupted"))
    [run] = shown(workspace / "runs").values()
    assert run.status == "unknown"
    assert run.hyperparameters["trainer.max_steps"] == 6
