"""One run for each combination of values, through Hydra's sweepers and launchers (`rnntrain train -m`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain import config as configs
from rnntrain.configuring import launchers
from rnntrain.configuring.overrides import prepare_overrides
from rnntrain.errors import DONE, Finished, Interrupted, UserError

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra

MOST_RUNS = 10_000
CHECKED_AHEAD = 100  # combinations that are checked before the first one starts
# What Hydra calls or puts into the environment: a config file may no more choose it than any `_target_`.
_NOT_FROM_FILES = ("callbacks", "job_logging", "hydra_logging", "job.env_set")


class _Ended(BaseException):
    """Carries an error out of a job past Hydra, which would keep it until all other jobs have run."""


def multirun(overrides: Sequence[str], config_dir: Path | None, config_name: str, *, quiet: bool = False) -> int:
    """Run every combination of the values given; all are checked before the first starts.

    Raises:
        UserError: if a combination is wrong.
    """
    from rnntrain.configuring.config_source import hydra_for

    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise UserError(
            "-m: torchrun would start every run in each of its processes; start one torchrun for each combination, or "
            "leave torchrun out and choose a launcher with hydra/launcher="
        )
    launchers.check_installed(overrides)
    prepared = prepare_overrides(overrides, config_dir, config_name, sweep=True)
    combinations = _combinations(prepared)
    root = _check_ahead(combinations, config_dir, config_name)
    vanished = _watched_jobs(overrides, combinations, _varied(prepared))
    everything = [*_settings(root, prepared), *prepared]
    with configs.mistakes_as_user_errors():
        with hydra_for(None) as hydra:
            ours = _hydra_section(hydra, "train", [o for o in everything if _is_for_hydra(o)])
        with hydra_for(config_dir) as hydra:
            _check_hydra_section(_hydra_section(hydra, config_name, everything), ours)
            try:
                job = partial(_job, quiet=quiet, varied=_varied(prepared), started_by=os.getpid())
                hydra.multirun(config_name, job, everything)
            except _Ended as ended:
                raise ended.args[0] from ended.args[0].__cause__
            except OSError as error:
                raise UserError(f"{error.filename}: {error.strerror}; set run.root to a folder of yours") from error
            except Exception as error:
                raise launchers.explained(error, overrides, vanished()) from error
    return DONE


def _watched_jobs(
    overrides: Sequence[str], combinations: Sequence[Sequence[str]], varied: Sequence[str]
) -> Callable[[], str | None]:
    """Look after the jobs of the multirun where Slurm runs them; return what says which have vanished."""
    if not launchers.is_slurm(overrides):
        return lambda: None
    from rnntrain.configuring import slurm_jobs

    return slurm_jobs.look_after([_own_part(each, varied) for each in combinations]).vanished


def _settings(root: str, given: Sequence[str]) -> list[str]:
    """Return what keeps Hydra's own files out of the working directory, whatever config the user starts from."""
    folder = root.replace("'", r"\'")
    settings = {
        "hydra/job_logging": "none",
        "hydra.output_subdir": "null",
        "hydra.job.chdir": "false",
        "hydra.sweep.dir": f"'{folder}/multirun/${{now:%Y-%m-%d_%H-%M-%S}}'",
        "hydra.sweep.subdir": ".",
    }
    chosen = {override.lstrip("+").partition("=")[0] for override in given}
    return [f"{key}={value}" for key, value in settings.items() if key not in chosen]


def _check_ahead(combinations: Sequence[list[str]], config_dir: Path | None, config_name: str) -> str:
    """Check all combinations; return the folder of their runs."""
    root, places = "outputs", set()
    for combination in combinations[:CHECKED_AHEAD]:
        run = configs.check(configs.compose(combination, config_dir, config_name)).run
        root = run.root
        place = run.dir or (run.name and f"{run.root}/{run.group}/{run.name}")
        if place in places:
            raise UserError(f"run.dir or run.name: {place} would hold several runs; leave it out with -m")
        places |= {place} if place else set()
    return root


def _combinations(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each run; none if another sweeper is chosen, which alone knows them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if any(override.lstrip("+").startswith("hydra/sweeper=") for override in overrides):
        return []
    own = [override for override in overrides if not _is_for_hydra(override)]
    parsed = OverridesParser.create().parse_overrides(own)
    _check_number(parsed)
    for override in parsed:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(
                f"{str(override.input_line).lstrip('+')}: list the values; an interval needs hydra/sweeper=…"
            )
    with configs.mistakes_as_user_errors():
        [batch] = BasicSweeper.split_arguments(parsed, None)
    return [list(combination) for combination in batch]


def _check_number(parsed: Sequence[Any]) -> None:
    """Refuse more runs than anybody waits for, before they are written down one by one."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    number = 1.0
    for override in parsed:
        value = override.value() if override.is_discrete_sweep() else None
        if isinstance(value, RangeSweep):
            number *= abs((value.stop or 0) - (value.start or 0)) / abs(value.step or 1)
        elif isinstance(value, ChoiceSweep):
            number *= len(value.list)
        if number > MOST_RUNS:
            raise UserError(f"{str(override.input_line).lstrip('+')}: more than {MOST_RUNS:,} runs; list fewer values")


def _is_for_hydra(override: str) -> bool:
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def _hydra_section(hydra: Hydra, config_name: str, overrides: list[str]) -> Any:
    from hydra.types import RunMode

    return hydra.compose_config(config_name, overrides, RunMode.MULTIRUN, with_log_configuration=False).hydra


def _check_hydra_section(found: Any, ours: Any) -> None:
    from omegaconf import OmegaConf

    for key in _NOT_FROM_FILES:
        theirs, expected = OmegaConf.select(found, key), OmegaConf.select(ours, key)
        if theirs != expected:
            raise UserError(f"hydra.{key}: is not read from config files; give it on the command line")
    for key in ("launcher", "sweeper"):
        if _targets(OmegaConf.select(found, key)) != _targets(OmegaConf.select(ours, key)):
            raise UserError(f"hydra.{key}: its class is not read from config files; choose one with hydra/{key}=NAME")


def _targets(node: Any) -> list[Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    inner = list(plain.values()) if isinstance(plain, dict) else plain if isinstance(plain, list) else []
    own = [plain["_target_"]] if isinstance(plain, dict) and "_target_" in plain else []
    return [*own, *(target for value in inner for target in _targets(value))]


def _varied(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that differ from run to run."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return tuple(str(override.key_or_group) for override in parsed if override.is_sweep_override())


def _own_part(overrides: Sequence[str], varied: Sequence[str]) -> str:
    """Return what tells a run from the others of its multirun, as it was typed."""
    return " ".join(word for each in overrides if (word := each.lstrip("+")).partition("=")[0] in varied)


def _job(composed: Any, quiet: bool, varied: tuple[str, ...], started_by: int) -> None:
    """Train one combination; in a process of its own where the launcher makes one.

    Args:
        varied: the keys that differ from run to run.
        started_by: the process that began the multirun.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from rnntrain import commands

    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    own = {str(key): value for key, value in plain.items()}
    overrides = list(HydraConfig.get().overrides.task)
    try:
        configs.name_group(own, overrides)
        trained = commands.train(configs.check(own), quiet=quiet)
    except Finished as done:  # put back into the queue after its end
        print(f"rnntrain: {done}")
        return
    except Exception as error:
        if os.getpid() == started_by:
            raise _Ended(error) from error
        said = launchers.put_back(error) if isinstance(error, Interrupted) else str(error)
        # Elsewhere the other jobs go on. What comes back must be an exception that can be sent, of one line.
        own_part = _own_part(overrides, varied)
        line = f"the run with {own_part}: {said}" if own_part else said
        print(f"rnntrain: error: {line}", file=sys.stderr, flush=True)
        raise UserError(line) from None
    print("\n".join(["", *trained.summary.lines(str(trained.run.path))]))
