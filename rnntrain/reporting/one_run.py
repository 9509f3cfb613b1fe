"""The report of one run."""

from __future__ import annotations

from rnntrain.comparing.groups import shown_value
from rnntrain.comparing.records import RunRecord
from rnntrain.reporting import curves, setup
from rnntrain.reporting.charts import grid
from rnntrain.reporting.film import films, projection
from rnntrain.reporting.html import Child, Html, element, number_text, section
from rnntrain.reporting.page import document, smoothing_slider
from rnntrain.reporting.pictures import gallery, picture_files
from rnntrain.reporting.result import baselines_of, headline, judged_by, metrics_of, metrics_table
from rnntrain.reporting.words import over_time, tags_spans
from rnntrain.runs.run import RunDir
from rnntrain.runs.shown_pictures import read_pictures
from rnntrain.runs.shown_texts import read_texts

PICTURES_BUDGET_BYTES = 3 << 20  # before they are written as text, which takes a third more
FILM_BUDGET_BYTES = 256 << 10  # of one picture over time


def one_run(record: RunRecord) -> str:
    """Return the page of a run, as HTML."""
    run = RunDir(record.path)
    pictures = _pictures(run, record.finished)
    texts = [over_time(title, shown, spans=tags_spans(record)) for title, shown in read_texts(run.texts).items()]
    found = record.curves
    parts = {
        "result": section(
            "Result",
            headline(record),
            metrics_table(metrics_of(record), baselines_of(record)),
            identity="result",
            note="Beside what simple methods reach on the same split; the best of each row is marked.",
        ),
        "learning": section(
            "Learning",
            smoothing_slider() if "train/loss" in found else None,
            grid([*curves.learning_charts(found, record.monitored()), *curves.training_charts(found)]),
            identity="learning",
        ),
        "words": section("In words", *texts, identity="words", note="What the model did at each evaluation."),
        "pictures": section("In pictures", *pictures, identity="pictures"),
        "gradients": section(
            "Gradients",
            grid(curves.gradient_charts(found)),
            curves.heat_map(found, "gradient_norm/", "Gradient norm"),
            curves.heat_map(found, "update_share/", "Size of an update, as a share of the weights"),
            identity="gradients",
        ),
        "costs": section("Time and memory", grid(curves.cost_charts(found)), identity="costs"),
        "config": section(
            "Config", _command(record), setup.config_tables(record.config, setup.defaults()), identity="config"
        ),
        "environment": section("Environment", setup.environment_table(record), identity="environment"),
    }
    names = {"costs": "Time and memory", "words": "In words", "pictures": "In pictures"}
    contents = [(key, names.get(key, key.capitalize())) for key, part in parts.items() if part is not None]
    return document(f"Run {record.name}", [subtitle(record), facts(record)], list(parts.values()), contents)


def subtitle(record: RunRecord) -> Html:
    """Return what was trained on what, in one line."""
    sections = [record.plain.get(name) for name in ("task", "data", "model")]
    task, data, model = (part if isinstance(part, dict) else {} for part in sections)
    cell = model.get("cell") if isinstance(model.get("cell"), dict) else {}
    targets = [(part or {}).get("_target_") for part in (task, data, cell)]
    words = [shown_value("_target_", str(target)) for target in targets if target]
    return element("p", " · ".join([*words, f"seed {record.seed}", str(record.path)]), class_="subtitle")


def facts(record: RunRecord) -> Html:
    """Return the few numbers that are asked for first."""
    summary, name = record.summary, judged_by(record)
    minutes = summary.get("minutes")
    pairs: list[tuple[str, str, str]] = []
    if name is not None:
        pairs.append((name, number_text(record.metrics.get(name)), ""))
    pairs.append(("status", record.status, record.reason))
    if isinstance(summary.get("step"), int):
        best = summary.get("best/step")
        pairs.append(("steps", f"{summary['step']:,}", f"best at {best:,}" if isinstance(best, int) else ""))
    if isinstance(minutes, (int, float)):
        pairs.append(("time", f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.1f} s", ""))
    if isinstance(summary.get("units_per_second"), (int, float)):
        pairs.append((f"{summary.get('unit', 'steps')} a second", number_text(round(summary["units_per_second"])), ""))
    if isinstance(summary.get("num_parameters"), int):
        pairs.append(("parameters", f"{summary['num_parameters']:,}", ""))
    memory = record.curves.get("cost/memory_mebibytes")
    if memory:
        pairs.append(("memory", f"{max(value for _, value in memory):,.0f} MiB", ""))
    items = (
        element("div", element("dt", label), element("dd", value, element("small", f" {more}") if more else None))
        for label, value, more in pairs
    )
    return element("dl", *items, class_="facts")


def _pictures(run: RunDir, finished: bool) -> list[Html | None]:
    """Return what was drawn over time, then the rest of what was drawn at the end."""
    final = picture_files(run.pictures)
    # Those of an end that is not the run's any more, since it goes on, stand for themselves.
    over_time = films(read_pictures(run.pictures_over_time), final if finished else [])
    shown, left, parts = set(), PICTURES_BUDGET_BYTES, []
    for film in over_time:
        part, used = projection(film, min(FILM_BUDGET_BYTES, left))
        if part is not None:
            parts.append(part)
            left -= used
            shown.add(film.last)
    rest, _ = gallery([path for path in final if path not in shown], left)
    strips = element("div", *parts, class_="films") if parts else None
    return [strips, rest]


def _command(record: RunRecord) -> Child:
    command = setup.command_of(record)
    return element("pre", command) if command else None
