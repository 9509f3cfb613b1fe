"""`rnntrain train`, `resume` and `check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rnntrain.errors import DONE
from rnntrain.interrupt import notices_before_training
from rnntrain.processes.alone import started_by_torchrun
from rnntrain.verbs.parsing import Parser, config_parser, parse, require_run

if TYPE_CHECKING:
    from rnntrain.running import Trained

TRAIN_HELP = """\
Train a model. Without arguments: an LSTM on Shakespeare's plays, about three minutes on two processor cores.

Choose parts (rnntrain info lists them all):
  model/cell=gru  optimizer=sgd  schedule=linear  device=cuda  experiment=NAME

Set values (rnntrain info data/text shows every key of a part):
  data=text data.path=my.txt  data.unit=char|byte|word|bpe  data.batch_size=64  data.bptt=128
  model.hidden_size=512  model.num_layers=2  model.dropout=0.2  model.residual=true
  trainer.max_steps=5000  trainer.max_epochs=10  trainer.max_minutes=30  trainer.grad_clip=1.0
  optimizer.lr=0.001  seed=0  threads=2  precision=bfloat16  run.name=my-first

See and try:
  rnntrain train --cfg job             print the config and stop
  rnntrain train debug=fast            a few steps of everything
  rnntrain train -m seed=0,1,2         one run for each value (Hydra's multirun)

Files of your own:
  --config-dir D                       also look for config groups in D (D/experiment/mine.yaml, …)
  --config-name N                      start from D/N.yaml in place of train.yaml
  plugins=[my_package]                 allow _target_ to name classes of my_package
"""


def train(arguments: list[str]) -> int:
    parser = config_parser("train", TRAIN_HELP)
    parser.add_argument("-m", "--multirun", action="store_true", help="one run for each combination of values")
    parser.add_argument("--cfg", choices=["job"], help="print the config that a run would have, and stop")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parse(parser, arguments)
    from rnntrain import config as configs

    if options.cfg:
        plain = configs.compose(options.overrides, options.config_dir, options.config_name)
        print(configs.to_yaml(plain), end="")
        return DONE
    if options.multirun:
        from rnntrain.configuring.multirun import multirun

        return multirun(options.overrides, options.config_dir, options.config_name, quiet=options.quiet)
    with notices_before_training():
        checked = configs.check(configs.compose(options.overrides, options.config_dir, options.config_name))
        from rnntrain import commands

        _print_closing(commands.train(checked, quiet=options.quiet))
    return DONE


def resume(arguments: list[str]) -> int:
    parser = Parser(
        prog="rnntrain resume",
        description="Go on with a run in its own folder, to the bit as if it had never stopped.",
    )
    parser.add_argument("run", nargs="?", help="the run's folder; the latest one that was interrupted if left out")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="raised limits, such as trainer.max_steps=10000"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse where threads, torch, device … make other bits",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parse(parser, arguments)
    if options.run is not None and "=" in options.run and not os.path.exists(options.run):
        options.run, options.overrides = None, [options.run, *options.overrides]
    if options.run is not None and not started_by_torchrun():  # where others would wait in vain, they are told of it
        require_run(options.run)
    from rnntrain import commands
    from rnntrain.runs import recorded

    run = recorded.latest_interrupted() if options.run is None else Path(options.run)
    _print_closing(commands.resume(run, options.overrides, quiet=options.quiet, strict=options.strict))
    return DONE


def _print_closing(trained: Trained) -> None:
    from rnntrain.running import closing_lines

    if trained.writes:
        print("\n".join(closing_lines(trained)))


def check(arguments: list[str]) -> int:
    parser = config_parser("check", "Check a config, its data and its sizes without training or writing anything.")
    options = parse(parser, arguments)
    from rnntrain import config as configs

    checked = configs.check(configs.compose(options.overrides, options.config_dir, options.config_name))
    from rnntrain import commands

    print("\n".join(commands.check(checked)))
    return DONE
