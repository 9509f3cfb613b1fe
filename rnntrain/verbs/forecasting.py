"""`rnntrain forecast`: the steps to come of a run's own series, or of new history."""

from __future__ import annotations

import sys
from pathlib import Path

from rnntrain.errors import DONE, UserError
from rnntrain.verbs.parsing import parse, require_run
from rnntrain.verbs.predicting import answering_parser, paths_and_overrides

MOST_STEPS = 100_000


def forecast(arguments: list[str]) -> int:
    parser = answering_parser(
        "forecast",
        "Forecast the steps after the last row of each series in a table: that of the run itself, or new ones with the "
        "same columns.",
    )
    parser.add_argument(
        "--horizon",
        type=int,
        metavar="N",
        help="steps to forecast; beyond those of training the model goes on from its own forecasts",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="of the paths that bands beyond the trained horizon come from (0)",
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="also draw them after their history")
    options = parse(parser, arguments)
    require_run(options.run)
    paths, overrides = paths_and_overrides(options.words)
    if options.horizon is not None and not 1 <= options.horizon <= MOST_STEPS:
        raise UserError(f"--horizon {options.horizon}: give 1 to {MOST_STEPS:,} steps")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: give 0 or a larger whole number")

    from rnntrain import using
    from rnntrain.data.places import resolve
    from rnntrain.predicting import writing
    from rnntrain.predicting.forecasts import ForecastPredictor
    from rnntrain.predicting.paths import NUM_PATHS
    from rnntrain.predicting.readers.finding import examples_of, items_of
    from rnntrain.predicting.readers.items import Reading

    writing.check_out(options.out, options.force)
    if options.plot is not None:
        writing.check_out(options.plot, options.force, "--plot")
    run = using.load(options.run, overrides)
    predictor = run.predictor()
    if not isinstance(predictor, ForecastPredictor):
        name = type(run.task).__name__
        raise UserError(
            f"{options.run}: a model trained for {name} forecasts no series; forecast takes task=forecasting"
        )
    trained = predictor.horizon
    predictor = predictor.ahead(options.horizon or trained, options.seed)
    recorded = run.config.data.arguments
    if not paths and "path" not in recorded:
        raise UserError(f"forecast {options.run}: its data is no file; name one with history")
    files = paths or [str(resolve(str(recorded["path"]), "data.path"))]
    reading = Reading(recorded)
    items = list(items_of(predictor, files, reading))
    records = list(predictor.predict(examples_of(predictor, items, labelled=False)))
    reading.tell()
    if predictor.horizon > trained:
        what = f"later ones go on along {NUM_PATHS} paths drawn from its forecasts (--seed {predictor.seed})"
        if "band" not in records[0]:
            what = "each later step goes on from forecasts"
        print(f"rnntrain: trained for {trained} steps; {what}", file=sys.stderr, flush=True)
    how = writing.format_of(options.format, options.out)
    writing.deliver(writing.pieces(records, predictor, how), options.out)
    if options.plot is not None:
        from rnntrain.predicting.forecast_picture import draw_forecasts  # brings matplotlib

        pairs = [(item.raw, record) for item, record in zip(items, records, strict=True)]
        figure = draw_forecasts(pairs, predictor.layout.targets, trained, predictor.windows.frequency)
        writing.save_picture(figure, options.plot)
    return DONE
