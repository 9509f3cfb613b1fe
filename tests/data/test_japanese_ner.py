"""The tagged sentences that come with the package are whole, and are those that their origin names."""

from __future__ import annotations

import hashlib

import pytest

from rnntrain.data.places import SHIPPED
from rnntrain.data.tagged.columns import Columns

FOLDER = SHIPPED / "japanese_ner"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_files_are_those_that_their_origin_names(split: str) -> None:
    origin = (FOLDER / "ORIGIN.md").read_text(encoding="utf-8")
    assert f"{split} {hashlib.sha256((FOLDER / f'{split}.conll').read_bytes()).hexdigest()} |" in origin


def test_sentences_are_split_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNTRAIN_DATA", raising=False)
    data = Columns("@japanese_ner", bio="repair")
    data.load()
    assert [data.num_sentences(split) for split in data.splits] == [350, 50, 100]
    assert data.codec.types == ["ART", "DAT", "LOC", "MON", "ORG", "PER", "PSN", "TIM"]
    tokens, tags = data.sentence("train", 0)
    assert "".join(tokens).startswith("2005年7月14日、南アフリカ共和国ダーバンで")
    assert tags[:7] == ["B-DAT", *["I-DAT"] * 5, "O"]
