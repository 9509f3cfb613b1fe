"""One run for each combination of values, through Hydra's sweepers and launchers (`rnntrain train -m`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnntrain import config as configs
from rnntrain.errors import DONE, INTERRUPTED, USER_MISTAKE, Interrupted, UserError

CHECKED_AHEAD = 100  # combinations that are checked before the first one starts


def multirun(overrides: Sequence[str], config_dir: Path | None, config_name: str) -> int:
    """Run every combination of the values given; all are checked before the first starts.

    Raises:
        UserError: if a combination is wrong.
    """
    import hydra

    prepared = configs.prepare_overrides(overrides, config_dir)
    for combination in _combinations(prepared)[:CHECKED_AHEAD]:
        configs.check(configs.compose(combination, config_dir, config_name))
    with configs.hydra_search_path(config_dir) as primary:
        sys.argv = ["rnntrain", "--multirun", *prepared]
        hydra.main(version_base="1.3", config_path=str(primary), config_name=config_name)(_job)()
    return DONE


def _combinations(overrides: Sequence[str]) -> list[list[str]]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    own = [override for override in overrides if not override.startswith("hydra")]
    [batch] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(own), None)
    return [list(combination) for combination in batch]


def _job(composed: Any) -> None:
    """Train one combination; a process of its own where the launcher makes one."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from rnntrain import commands

    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    own = {str(key): value for key, value in plain.items()}
    try:
        configs.name_group(own, list(HydraConfig.get().overrides.task))
        trained = commands.train(configs.check(own))
    except UserError as error:
        print(f"rnntrain: error: {error}", file=sys.stderr)
        sys.exit(USER_MISTAKE)
    except Interrupted as error:
        print(f"rnntrain: {error}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    print("\n".join(["", *trained.summary.lines(str(trained.run.path))]))
