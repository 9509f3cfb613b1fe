"""Mistakes that people make: in configs, the environment, text, tagged sentences, series, recordings, arrays, runs.

Each has the files of its folder, the words of the command, and what its one line must name: the key or the place in
the file, the value, and a word of the fix.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from commandline import TINY

from faults.hostile_files import npy_header, npz, wav

SERIES = ["data=series", "task=forecasting", "data.path=a.csv", "data.window=4", "data.horizon=2"]
TAGGED = ["data=columns", "task=tagging", "data.path=a.conll"]
LABELLED = ["data=labelled_text", "task=classification", "data.path=a.csv"]
AUDIO = ["data=audio", "task=classification", "data.path=list.csv"]
ARRAYS = ["data=arrays", "task=classification", "data.path=a.npz"]
TEXT = ["data=text", "data.path=a.txt"]


class Mistake(NamedTuple):
    """Files, words, what the line must have in it, and the environment."""

    files: dict[str, bytes]
    words: list[str]
    told: list[str]
    environment: dict[str, str] | None = None


def words(*given: str, told: list[str]) -> Mistake:
    return Mistake({}, ["train", *TINY, *given], told)


def text(name: str, content: bytes | str, kind: list[str], *given: str, told: list[str]) -> Mistake:
    data = content.encode() if isinstance(content, str) else content
    return Mistake({name: data}, ["check", *kind, "model.hidden_size=8", *given], told)


def days(rows: int, cell: str = "1") -> str:
    return "".join(f"{date(2020, 1, 1) + timedelta(n)},{cell}\n" for n in range(rows))


def own_config(content: str, told: list[str]) -> Mistake:
    return Mistake(
        {"conf/experiment/mine.yaml": content.encode()}, ["train", "--config-dir", "conf", "experiment=mine"], told
    )


GOOD_TAGS = "Ada\tB-person\nslept\tO\n\n" * 20
MALFORMED: dict[str, Mistake] = {
    # -- config
    "key with a typo": words("model.hidden_siz=8", told=["model.hidden_siz", "did you mean hidden_size?"]),
    "section with a typo": words("modle.hidden_size=8", told=["modle", "did you mean model?"]),
    "choice with a typo": words("model/cell=lstn", told=["model/cell=lstn", "lstm"]),
    "experiment that is none": words("experiment=shakespear", told=["experiment=shakespear", "there are:"]),
    "text for a number": words("model.hidden_size=big", told=["model.hidden_size=big", "whole number"]),
    "fraction for a whole number": words("model.num_layers=1.5", told=["model.num_layers=1.5", "whole number"]),
    "number out of range": words("model.dropout=1.0", told=["model.dropout=1", "[0, 1)"]),
    "negative number": words("trainer.max_steps=-1", told=["trainer.max_steps=-1", "at least"]),
    "zero steps": words("trainer.log_every_steps=0", told=["trainer.log_every_steps=0", "at least 1"]),
    "not a number": words("optimizer.lr=nan", told=["optimizer.lr=nan", "finite"]),
    "infinity": words("optimizer.lr=inf", told=["optimizer.lr=inf", "finite"]),
    "number beyond 64 bits": words("seed=99999999999999999999999", told=["seed=9999", "too large"]),
    "number of 100,000 digits": words("seed=" + "9" * 50_000, told=["seed=999", "whole number"]),
    "truth for a number": words("model.hidden_size=true", told=["model.hidden_size=true", "whole number"]),
    "number for a truth": words("model.bidirectional=1", told=["model.bidirectional=1", "true or false"]),
    "word that is none of the choices": words("precision=float8", told=["precision=float8", "bfloat16"]),
    "section set to a value": words("trainer=3", told=["trainer=3"]),
    "value with no key": words("=3", told=["=3", "write key=value"]),
    "word that is no override": words("lstm", told=["lstm", "key=value"]),
    "key with no value": words("seed=", told=["seed=", "VALUE"]),
    "several values without -m": words("seed=1,2", told=["seed=1,2", "-m"]),
    "no end": words("trainer.max_steps=null", told=["trainer", "max_steps"]),
    "a name with a slash": words("run.name=a/b", told=["run.name='a/b'", "characters"]),
    "a folder that is not there": words("run.root=no/such/folder", told=["no/such/folder", "create it"]),
    "a class of nobody": words("task._target_=my.Task", told=["task._target_=my.Task", "plugins=[my]"]),
    "a plugin that is not there": words("plugins=[nobody]", told=["plugins=[nobody]", "install it"]),
    "a device that is not there": words("device=cuda:7", told=["device", "cuda"]),
    "a device that is none": words("device=tpu", told=["device=tpu", "there are:"]),
    "a config folder that is not there": words(
        "--config-dir", "nowhere", told=["--config-dir nowhere", "no such folder"]
    ),
    "a config that is not there": words("--config-name", "nothing", told=["--config-name nothing"]),
    "an option that is none": words("--quick", told=["--quick", "--help"]),
    "own config: typo": own_config("modle: {hidden_size: 8}\n", ["modle", "model"]),
    "own config: a tab": own_config("model:\n\thidden_size: 8\n", ["mine.yaml:2", "YAML"]),
    "own config: a colon too few": own_config("model\n  hidden_size: 8\n", ["mine.yaml:2", "YAML"]),
    "own config: Latin 1": Mistake(
        {"conf/experiment/mine.yaml": b"# \xe9\nseed: 1\n"},
        ["train", "--config-dir", "conf", "experiment=mine"],
        ["mine.yaml:1", "UTF-8"],
    ),
    "own config: a list": own_config("- seed\n", ["mine.yaml", "key: value"]),
    "own config: other type": own_config("model: {hidden_size: [8]}\n", ["model.hidden_size", "whole number"]),
    # -- environment
    "threads in the environment": Mistake({}, ["train", *TINY, "threads=0"], ["threads=0", "[1, 1024]"]),
    "data folder that is not there": Mistake(
        {},
        ["check", "data=text", "data.path=@mine/a.txt"],
        ["@mine/a.txt", "RNNTRAIN_DATA"],
        {"RNNTRAIN_DATA": "nowhere"},
    ),
    # -- text
    "text that is not there": text("b.txt", "abc", TEXT, told=["data.path=a.txt", "did you mean b.txt?"]),
    "empty text": text("a.txt", "", TEXT, told=["data.path=a.txt", "empty"]),
    "text of one sign": text("a.txt", "x", TEXT, told=["data.path=a.txt", "give more text"]),
    "text in Latin 1": text("a.txt", "é\n".encode() + b"caf\xe9\n", TEXT, told=["a.txt:2", "0xe9", "iconv"]),
    "text in UTF-16": text("a.txt", "some text".encode("utf-16"), TEXT, told=["a.txt:1", "utf-16"]),
    "text that is a picture": text("a.txt", b"\x89PNG\r\n\x1a\n\0\0" * 50, TEXT, told=["a.txt:1", "no text"]),
    "too many streams": text("a.txt", "abc" * 20, TEXT, "data.batch_size=500", told=["data.batch_size=500", "lower"]),
    "a folder without text": Mistake(
        {"a.txt/x.bin": b"\0" * 10}, ["check", *TEXT], ["data.path=a.txt", "no text file"]
    ),
    "a vocabulary of two words a line": Mistake(
        {"a.txt": b"one two " * 50, "words.txt": b"one\ntwo three\n"},
        ["check", *TEXT, "data.unit=word", "data.vocab_path=words.txt"],
        ["words.txt:2", "one word a line"],
    ),
    # -- labelled texts
    "labelled: ragged row": text(
        "a.csv", "text,label\na,x\nb,y,z\n" * 5, LABELLED, told=["a.csv:3", "3 cells", "quote"]
    ),
    "labelled: no such column": text(
        "a.csv", "text,label\na,x\nb,y\n", LABELLED, "data.label=kind", told=["data.label=kind", "label"]
    ),
    "labelled: no label": text("a.csv", "text,label\na,x\nb,\n", LABELLED, told=["a.csv:3", "no label"]),
    "labelled: two columns alike": text("a.csv", "text,text\na,x\nb,y\n", LABELLED, told=["a.csv", "text"]),
    "labelled: one JSON array": Mistake(
        {"a.jsonl": b'[{"text": "a", "label": "x"}]'},
        ["check", "data=labelled_text", "task=classification", "data.path=a.jsonl"],
        ["a.jsonl", "one JSON object a line"],
    ),
    "labelled: broken JSON": Mistake(
        {"a.jsonl": b'{"text": "a", "label": "x"}\n{"text": \n'},
        ["check", "data=labelled_text", "task=classification", "data.path=a.jsonl"],
        ["a.jsonl:2", "JSON"],
    ),
    # -- tagged sentences
    "tagged: a column too few": text("a.conll", GOOD_TAGS + "Bo\n", TAGGED, told=["a.conll:61", "columns"]),
    "tagged: one column": text("a.conll", "Ada\nslept\n", TAGGED, told=["a.conll:1", "two are needed"]),
    "tagged: a span that never began": text(
        "a.conll", "met\tO\nAda\tI-person\n\n" + GOOD_TAGS, TAGGED, told=["a.conll:2", "I-person", "repair"]
    ),
    "tagged: an empty tag": text("a.conll", GOOD_TAGS + "Bo\t\n", TAGGED, told=["a.conll:61", "empty"]),
    "tagged: a column that is not there": text(
        "a.conll", GOOD_TAGS, TAGGED, "data.tag_column=9", told=["data.tag_column=9", "2 columns"]
    ),
    "tagged: not UTF-8": text("a.conll", GOOD_TAGS.encode() + b"Zo\xeb\tO\n", TAGGED, told=["a.conll:61", "UTF-8"]),
    # -- series
    "series: a word for a number": text(
        "a.csv", "time,x\n" + days(30) + "2021-01-01,oops\n", SERIES, told=["a.csv:32", "oops"]
    ),
    "series: a cell too many": text("a.csv", "time,x\n2020-01-01,1,2\n", SERIES, told=["a.csv:2", "3 cells"]),
    "series: only names": text("a.csv", "time,x\n", SERIES, told=["a.csv", "no rows"]),
    "series: two columns alike": text("a.csv", "x,x\n1,2\n", SERIES, told=["a.csv:1", "'x'", "rename"]),
    "series: no such column": text(
        "a.csv", "time,x\n" + days(60), SERIES, "data.target=y", told=["data.target=y", "x"]
    ),
    "series: too short": text("a.csv", "time,x\n" + days(5), SERIES, told=["rows", "lower"]),
    "series: out of order": text(
        "a.csv", "time,x\n" + days(60) + "2019-01-01,3\n", SERIES, told=["a.csv:62", "2019-01-01"]
    ),
    "series: a date that is none": text(
        "a.csv", "time,x\n2020-01-01,1\n2020-13-45,1\n", SERIES, "data.time=time", told=["a.csv:3", "2020-13-45"]
    ),
    "series: a gap": text(
        "a.csv", "time,x\n" + days(60).replace("2020-02-03,1", "2020-02-03,"), SERIES, told=["a.csv:35", "data.missing"]
    ),
    # -- recordings
    "audio: a file that is not there": Mistake(
        {"list.csv": b"path,label\n" + b"x.wav,a\ny.wav,b\n" * 10}, ["check", *AUDIO], ["list.csv:", "no such file"]
    ),
    "audio: a file that is cut off": Mistake(
        {"list.csv": b"path,label\nx.wav,a\ny.wav,b\n" * 3, "x.wav": wav()[:500], "y.wav": wav()[:500]},
        ["check", *AUDIO],
        ["list.csv:", "promises"],
    ),
    "audio: a text for a sound": Mistake(
        {"list.csv": b"path,label\nx.wav,a\ny.wav,b\n" * 3, "x.wav": b"hello", "y.wav": b"hello"},
        ["check", *AUDIO],
        ["list.csv:", "no sound"],
    ),
    "audio: no column of files": Mistake(
        {"list.csv": b"a,b\nx,y\n"}, ["check", *AUDIO], ["list.csv", "data.path_field="]
    ),
    "audio: an empty label": Mistake(
        {"list.csv": b"path,label\nx.wav,\n", "x.wav": wav()}, ["check", *AUDIO], ["list.csv:2", "empty"]
    ),
    "audio: a folder without sounds": Mistake(
        {"list.csv/x.txt": b"x"}, ["check", *AUDIO], ["data.path=list.csv", "no sound"]
    ),
    "audio: a pattern that fits nothing": Mistake(
        {"list.csv/x.wav": wav()}, ["check", *AUDIO, "data.pattern={label}_{index}.wav"], ["x.wav", "data.pattern="]
    ),
    # -- arrays and runs
    "arrays: no archive": text("a.npz", "hello", ARRAYS, told=["data.path=a.npz", "numpy.savez"]),
    "arrays: other names": text("a.npz", npz(a=npy_header((0,))), ARRAYS, told=["data.path=a.npz", "x_train"]),
    "a run that is not there": Mistake({}, ["resume", "no-run"], ["no-run", "does not exist"]),
    "a folder that is no run": Mistake({"folder/x": b""}, ["eval", "folder"], ["folder", "is not a run"]),
    "nothing to resume": Mistake({}, ["resume"], ["no interrupted run", "rnntrain resume RUN"]),
    "a verb that is none": Mistake({}, ["trian"], ["trian", "did you mean train?"]),
    "data that nobody knows": Mistake({}, ["data", "get", "shakespear"], ["shakespear"]),
}
