"""Each of several runs to open: its numbers, its last words, and pictures as far as the page's size allows."""

from __future__ import annotations

from rnntrain.comparing.leaderboard import Leaderboard
from rnntrain.comparing.records import RunRecord
from rnntrain.reporting.html import Html, element
from rnntrain.reporting.pictures import gallery, picture_files
from rnntrain.reporting.result import baselines_of, metrics_of, metrics_table
from rnntrain.reporting.setup import command_of
from rnntrain.reporting.words import last_texts, tags_spans
from rnntrain.runs.run import RunDir
from rnntrain.runs.shown_texts import read_texts

PICTURES_BUDGET_BYTES = 2 << 20  # of all runs together
MOST_RUNS = 60
MOST_PICTURES = 2  # of a run: those of the test split come first


def details_of_runs(board: Leaderboard) -> Html:
    """Return the runs in the order of the board, closed; those beyond `MOST_RUNS` are counted."""
    runs = [(row.group.label, run) for row in board.rows for run in row.group.runs]
    left, parts = PICTURES_BUDGET_BYTES, []
    for label, run in runs[:MOST_RUNS]:
        pictures, used = gallery(picture_files(RunDir(run.path).pictures)[:MOST_PICTURES], left)
        left -= used
        parts.append(_details(label, run, pictures))
    if len(runs) > MOST_RUNS:
        parts.append(
            element("p", f"… and {len(runs) - MOST_RUNS} runs more, which stand in the tables.", class_="note")
        )
    return element("div", *parts)


def _details(label: str, run: RunRecord, pictures: Html | None) -> Html:
    told = f"{label}, seed {run.seed}" if label != run.name else f"seed {run.seed}"
    command = command_of(run)
    return element(
        "details",
        element("summary", f"{run.name}: {told}"),
        element("p", f"{run.status}, {run.path}", class_="note"),
        element("pre", command) if command else None,
        metrics_table(metrics_of(run), baselines_of(run)),
        last_texts(read_texts(RunDir(run.path).texts), spans=tags_spans(run)),
        pictures,
        class_="run",
    )
