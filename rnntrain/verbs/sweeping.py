"""`rnntrain sweep`: search over configs."""

from __future__ import annotations

from rnntrain.errors import DONE
from rnntrain.verbs.parsing import config_parser, parse

SWEEP_HELP = """\
Search over configs with Optuna: many runs, several at once, each a process of its own.

What is searched: a file of the group sweep, keys with several values, or both:
  rnntrain sweep sweep=tpe experiment=adding
  rnntrain sweep optimizer.lr='interval(1e-4,1e-2,log)' model/cell='choice(gru,lstm)' seed='range(0,3)'
  interval(LOW,HIGH[,log][,int])  range(START,STOP[,STEP])  choice(A,B,…)
  several values of seed are runs of each point, whose mean is its value

How (rnntrain info sweep/tpe shows every key):
  sweep.trials=40  sweep.sampler=random|tpe|gp|grid|qmc|nsga2  sweep.pruner=none|median|successive_halving|hyperband
  sweep.seeds=3    sweep.metric=val/loss  sweep.workers=2  sweep.max_minutes=60  sweep.name=mine

Stopped or killed, the same command goes on; started several times at once, all work on one sweep.
"""


def sweep(arguments: list[str]) -> int:
    parser = config_parser("sweep", SWEEP_HELP)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parse(parser, arguments)
    from rnntrain.sweeps.plan import make_plan
    from rnntrain.sweeps.sweep import run_sweep

    plan = make_plan(options.overrides, options.config_dir, options.config_name)
    study = run_sweep(plan, quiet=options.quiet)
    from rnntrain.sweeps.outcome import outcome_lines

    print("\n".join(outcome_lines(study)))
    return DONE
