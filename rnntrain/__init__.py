"""Train recurrent neural networks from one command, or from Python:

>>> import rnntrain
>>> trained = rnntrain.train("data=text", "data.path=my.txt", "trainer.max_steps=500")  # doctest: +SKIP
>>> run = rnntrain.load(trained.run.path)  # doctest: +SKIP
>>> print(run.sample("Once upon", length=200))  # doctest: +SKIP
>>> records = rnntrain.load("spam-model").predict(["Call now to claim your prize!"])  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnntrain.build import Experiment
    from rnntrain.running import Trained
    from rnntrain.using import Loaded

__all__ = ["load", "prepare", "train"]

# torch takes over a second to import; these functions import what they need when they are called.


def prepare(*overrides: str, config_dir: str | Path | None = None) -> Experiment:
    """Build data, model and trainer from command-line style overrides, without writing anything.

    Raises:
        rnntrain.errors.UserError: names the key, the value and the fix.
    """
    from rnntrain import config as configs
    from rnntrain.build import build

    plain = configs.compose(overrides, None if config_dir is None else Path(config_dir))
    return build(configs.check(plain))


def train(*overrides: str, config_dir: str | Path | None = None, quiet: bool = False) -> Trained:
    """Train a run as `rnntrain train` does; return it with its model and summary."""
    from rnntrain import commands
    from rnntrain import config as configs

    plain = configs.compose(overrides, None if config_dir is None else Path(config_dir))
    return commands.train(configs.check(plain), quiet=quiet)


def load(path: str | Path, *overrides: str) -> Loaded:
    """Load the model of a run or a bundle with its best weights, wherever it was trained.

    Raises:
        rnntrain.errors.UserError: if it is neither, or damaged; of plugins, until `overrides` names them.
    """
    from rnntrain import using

    return using.load(path, overrides)
