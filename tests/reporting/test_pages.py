"""The pages of a report hold what runs recorded, as text that nothing runs, and refuse what is no run in one line."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from comparing.recorded import write_run

from reporting.runs_to_show import ATTACK, write_grid, write_whole_run
from rnntrain.reporting.report import write_report


class Reader(HTMLParser):
    """Keeps elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "link", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(paths: list[Path], out: Path, metric: str | None = None) -> Reader:
    write_report(paths, out, None, metric)
    return Reader(out.read_text(encoding="utf-8"))


@pytest.fixture
def pages(tmp_path: Path) -> list[Reader]:
    """The page of one run and that of several."""
    grid = write_grid(tmp_path / "grid")
    one = read([grid / "lr0.01-seed0"], tmp_path / "one.html")
    return [one, read([grid], tmp_path / "several.html")]


def test_every_element_is_closed_and_what_runs_recorded_is_text(pages: list[Reader]) -> None:
    for page in pages:
        assert page.open == []
        assert ATTACK in page.text
        assert len(page.named("script")) == 1
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]


def test_nothing_is_loaded_from_elsewhere(pages: list[Reader]) -> None:
    for page in pages:
        sources = [
            a.get("src") or a.get("href") or "" for tag, a in page.elements if tag in ("img", "link", "script", "a")
        ]
        assert all(source.startswith(("data:", "#")) or not source for source in sources)
        [policy] = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy is not None
        assert policy.startswith("default-src 'none'")


def test_a_run_shows_its_result_beside_the_simple_methods(pages: list[Reader]) -> None:
    assert "test/f1 (more is better)" in pages[0].text
    assert re.search(r"this run\s*0\.69.*most frequent tag\s*0\.3", pages[0].text, re.DOTALL)


def test_a_run_shows_all_that_was_logged_and_what_differs_from_the_defaults(pages: list[Reader]) -> None:
    text = pages[0].text
    for part in ("Learning", "In words", "In pictures", "Gradients", "Time and memory", "Environment", "optimizer.lr"):
        assert part in text, part


def test_spans_are_marked_and_named(pages: list[Reader]) -> None:
    assert {mark.get("class") for mark in pages[0].named("mark")} == {"s0", "s1"}
    assert "personAda 90" in pages[0].text


def test_every_picture_and_table_is_told_in_words(pages: list[Reader]) -> None:
    for page in pages:
        assert page.named("img")
        assert all(image.get("alt") for image in page.named("img"))
        assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.named("svg"))
        assert all(head.get("scope") for head in page.named("th"))
        assert len(page.named("table")) == len(page.named("caption"))


def test_headings_leave_out_no_level(pages: list[Reader]) -> None:
    for page in pages:
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_several_runs_stand_in_one_row_a_configuration_the_best_first(pages: list[Reader]) -> None:
    assert "6 runs, 2 configurations" in pages[1].text
    board = pages[1].text.partition("beside the first")[2]
    assert re.match(r"\s*1\s*0\.01\s*3\s*0\.7", board)


def test_a_metric_can_be_asked_for_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid")
    assert "By the mean of test/loss" in read([grid], tmp_path / "a.html", "test/loss").text
    from rnntrain.errors import UserError

    with pytest.raises(UserError, match=r"--metric test/los: no run has it \(did you mean test/loss"):
        write_report([grid], tmp_path / "b.html", None, "test/los")
    assert not (tmp_path / "b.html").exists()


def test_an_unfinished_run_has_a_page_too(tmp_path: Path) -> None:
    bare = write_run(tmp_path / "bare", status=None)
    page = read([bare], tmp_path / "page.html")
    assert "interrupted" in page.text
    assert "Config" in page.text


def test_a_picture_over_time_has_a_frame_a_moment_and_ends_with_that_of_the_end(pages: list[Reader]) -> None:
    frames = [image["alt"] for image in pages[0].named("img") if (image["alt"] or "").startswith("confusion ")]
    whens = [alt.partition(":")[0] for alt in frames if alt]
    assert whens == [
        *(f"confusion at step {n}" for n in (10, 50, 90)),
        "confusion of the weights that the run ends with",
    ]
    buttons = [each for each in pages[0].named("input") if each["type"] == "radio"]
    assert len(buttons) == len({each["id"] for each in buttons}) == 4
    assert ["checked" in each for each in buttons] == [False, False, False, True]
    assert [each["for"] for each in pages[0].named("label") if "for" in each] == [each["id"] for each in buttons]
    assert not [image for image in pages[0].named("img") if (image["alt"] or "").startswith("val: confusion")]


def test_the_end_of_a_run_that_goes_on_is_no_moment_of_it(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run")
    (run / "summary.json").unlink()
    alts = [image["alt"] or "" for image in read([run], tmp_path / "page.html").named("img")]
    assert sum(alt.startswith("confusion at step") for alt in alts) == 3
    assert not any("ends with" in alt for alt in alts)


def test_pictures_over_time_stay_within_their_bytes_and_keep_first_and_last(tmp_path: Path) -> None:
    from PIL import Image

    from rnntrain.reporting.film import Film, projection
    from rnntrain.runs.shown_pictures import read_pictures

    for step in range(8):
        Image.effect_noise((200, 150), 80).convert("RGB").save(tmp_path / f"noise.step-{step:09}.png")
    film = Film("noise", read_pictures(tmp_path)["noise"], None)
    whole, all_bytes = projection(film, 1 << 20)
    part, some_bytes = projection(film, all_bytes // 2)
    assert whole is not None
    assert part is not None
    assert whole.count("<img") == 8
    assert 2 <= part.count("<img") <= 4
    assert "step 0<" in part
    assert "step 7<" in part
    assert some_bytes <= all_bytes // 2
    assert projection(film, 10) == (None, 0)


def test_damaged_pictures_and_texts_are_left_out(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run")
    for path in run.glob("pictures*/*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    (run / "texts.jsonl").write_bytes(b'{"step": 1}\n[1]\n\xff\n{"torn')
    page = read([run], tmp_path / "page.html")
    assert "In pictures" not in page.text
    assert "In words" not in page.text


def test_pictures_are_made_small_enough(tmp_path: Path) -> None:
    from rnntrain.reporting.pictures import WIDEST, small_png

    run = write_whole_run(tmp_path / "run")
    data = small_png(run / "pictures" / "test_confusion.png")
    assert data is not None
    assert int.from_bytes(data[16:20]) == WIDEST


def test_curves_and_pictures_can_be_had_as_files(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run")
    lines = write_report([run], tmp_path / "page.html", tmp_path / "pictures", None)
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"curve_train_loss.png", "curve_val_f1.png", "test_confusion.png"} <= names
    assert lines[1] == f"{tmp_path / 'pictures'}: {len(names)} pictures"


def test_what_is_no_run_is_refused_in_one_line(refused, workspace: Path) -> None:
    assert "nowhere" in refused("report", "nowhere")
    run = write_whole_run(workspace / "run")
    assert "is a folder" in refused("report", run, "--out", workspace)


def test_the_page_lies_in_the_run_unless_another_place_is_named(run_cli, workspace: Path) -> None:
    run = write_whole_run(workspace / "run")
    answer = run_cli("report", run)
    assert answer.code == 0, answer
    assert (run / "report.html").is_file()
    assert answer.out.startswith("run/report.html: 1 run, ")


def test_a_run_that_was_trained_has_its_curves_and_its_sample_on_its_page(run_cli, workspace: Path) -> None:
    from commandline import TINY

    assert run_cli("train", *TINY, "run.dir=run", "--quiet", "diagnose=gradients").code == 0
    assert run_cli("report", "run", "--out", "page.html").code == 0
    page = Reader((workspace / "page.html").read_text(encoding="utf-8"))
    for part in (
        "train/loss",
        "val/perplexity",
        "Sample",
        "step 4, the weights that the run ends with",
        "gradients by lag",
    ):
        assert part in page.text, part
