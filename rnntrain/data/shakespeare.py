"""The plays of Shakespeare, which come with the package: text to train on where there is no network."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path
from typing import Annotated

from rnntrain.data.source import Document
from rnntrain.data.text import Text, Unit
from rnntrain.errors import UserError
from rnntrain.ranges import PositiveInt, Range

PLAYS = Path(__file__).with_name("shakespeare.txt.bz2")
SHA256 = "512681cdc9bf5ce39c1cf76328e29e37cd3cbb046eee910da093ef691a91c373"  # of the text, not of the packed file
# A comedy and a tragedy each, whose people appear in no other play but for Antony, Octavius and Lepidus.
HELD_OUT = {"val": ("Macbeth", "Twelfth Night"), "test": ("Julius Caesar", "The Merchant of Venice")}


class Shakespeare(Text):
    """37 plays of William Shakespeare, 4.9 million characters, split by play; a document is a play.

    Validation: Macbeth and Twelfth Night. Test: Julius Caesar and The Merchant of Venice. The rest is for
        training. Origin, licence and format stand in SHAKESPEARE.md, beside this module. The options are
        those of `Text`.
    """

    def __init__(
        self,
        unit: Unit = "char",
        batch_size: PositiveInt = 32,
        bptt: PositiveInt = 128,
        contiguous: bool = True,
        random_bptt: bool = False,
        documents: bool = False,
        eval_bptt: PositiveInt | None = None,
        eval_batch_size: PositiveInt | None = None,
        vocab_size: Annotated[int, Range(256)] = 4096,
        max_vocab: Annotated[int, Range(3)] | None = None,
        min_count: PositiveInt = 1,
        vocab_path: str | None = None,
    ) -> None:
        super().__init__(
            path=PLAYS.name,
            unit=unit,
            batch_size=batch_size,
            bptt=bptt,
            contiguous=contiguous,
            random_bptt=random_bptt,
            documents=documents,
            eval_bptt=eval_bptt,
            eval_batch_size=eval_batch_size,
            vocab_size=vocab_size,
            max_vocab=max_vocab,
            min_count=min_count,
            vocab_path=vocab_path,
        )

    def find(self) -> dict[str, list[Document]]:
        found: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
        split_of = {title: split for split, titles in HELD_OUT.items() for title in titles}
        for title, play in read_plays().items():
            found[split_of.get(title, "train")].append(Document.of_bytes(title, play))
        return found


def read_plays() -> dict[str, bytes]:
    """Return the text of each play by its title."""
    try:
        text = bz2.decompress(PLAYS.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{PLAYS}: cannot be read ({error}); install rnntrain anew") from error
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise UserError(f"{PLAYS}: its text is not the one that came with rnntrain; install rnntrain anew")
    plays = (play.partition(b"\n") for play in text.split(b"\f")[1:])
    return {title.decode("ascii"): play for title, _, play in plays}
