"""The `rnntrain` command: each mistake is one line, each end has its exit code, and Ctrl-C loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commandline import TINY, Answer, environment, write_configs, write_package

from rnntrain import commands
from rnntrain.checkpoints import durable
from rnntrain.errors import NonFiniteError
from rnntrain.verbs import VERBS

Cli = Callable[..., Answer]
Refused = Callable[..., str]
Start = Callable[..., subprocess.Popen[str]]

TEXT_DATA = ("data=text", "data.path=tiny.txt")

# What is typed after `rnntrain train`, and what its one line must hold: the key, the value and the fix.
MISTAKES = {
    "misspelt section": ("modle.hidden_size=8", ["modle.hidden_size=8", "did you mean model?"]),
    "misspelt key of a plain section": ("trainer.max_step=8", ["trainer.max_step:", "did you mean max_steps?"]),
    "misspelt key of a class": ("model.hiden_size=8", ["model.hiden_size:", "did you mean hidden_size?"]),
    "misspelt key of a cell": ("model.cell.forget_bais=1", ["model.cell.forget_bais:", "did you mean forget_bias?"]),
    "misspelt name of the cell": ("model.cel.init=uniform", ["model.cel:", "did you mean cell?"]),
    "misspelt key of the top": ("sed=1", ["sed=1", "did you mean seed?"]),
    "misspelt choice": ("model/cell=lsmt", ["model/cell=lsmt", "did you mean lstm?", "gru, "]),
    "misspelt optimizer": ("optimizer=adamv", ["optimizer=adamv", "did you mean adam", "adagrad, adam, adamw"]),
    "misspelt experiment": ("experiment=word_ml", ["experiment=word_ml", "did you mean word_lm?"]),
    "misspelt value of a few": ("precision=float33", ["precision=float33", "did you mean float32?", "bfloat16"]),
    "key of another choice": ("data.path=tiny.txt", ["data.path:", "add data=text"]),
    "part set like a value": ("model.cell=gru", ["model.cell=gru", "model/cell=NAME"]),
    "value set like a part": ("trainer/max_steps=4", ["trainer/max_steps=4", "trainer=max_steps"]),
    "section set like a value": ("run=here", ["run=here", "run.KEY=VALUE"]),
    "text for a number": ("trainer.max_steps=abc", ["trainer.max_steps=abc", "a whole number at least 1 or null"]),
    "fraction for a whole number": ("model.num_layers=1.5", ["model.num_layers=1.5", "a whole number"]),
    "truth for a number": ("trainer.max_steps=true", ["trainer.max_steps=true", "a whole number"]),
    "number for a truth": ("model.residual=1", ["model.residual=1", "true or false"]),
    "number for a text": ("run.name=7", ["run.name=7", "a text", "quote it"]),
    "list for a number": ("seed=[1]", ["seed=[1]", "a whole number"]),
    "section for a number": ("trainer.max_steps.x=1", ["trainer.max_steps={'x': 1}", "a whole number"]),
    "null where none is": ("model.hidden_size=null", ["model.hidden_size=null", "a whole number"]),
    "hidden size 0": ("model.hidden_size=0", ["model.hidden_size=0", "at least 1"]),
    "dropout 1.5": ("model.dropout=1.5", ["model.dropout=1.5", "in [0, 1)"]),
    "lr nan": ("optimizer.lr=nan", ["optimizer.lr=nan", "finite"]),
    "lr inf": ("optimizer.lr=inf", ["optimizer.lr=inf", "finite"]),
    "lr negative": ("optimizer.lr=-1", ["optimizer", "learning rate: -1"]),
    "one beta": ("optimizer.betas=[0.9]", ["optimizer.betas=[0.9]", "a list"]),
    "seed -1": ("seed=-1", ["seed=-1", "at least 0"]),
    "seed of 30 digits": ("seed=" + "9" * 30, ["seed=999", "too large"]),
    "no threads": ("threads=0", ["threads=0", "auto"]),
    "limit beyond all numbers": ("trainer.max_steps=1e400", ["trainer.max_steps=inf", "finite"]),
    "no limit": ("trainer.max_steps=null", ["trainer", "no end", "set trainer.max_steps"]),
    "half precision on a CPU": ("precision=float16 device=cpu", ["precision=float16", "bfloat16"]),
    "a device that is none": ("device=cuda:x", ["device=cuda:x", "auto, cpu, cuda"]),
    "bidirectional language model": ("model.bidirectional=true", ["model.bidirectional=true", "=false"]),
    "encoder as a language model": (
        "model/cell=transformer model.cell.causal=false",
        ["model.cell", "cannot generate", "set model.cell.causal=true"],
    ),
    "heads that do not divide": (
        "model/cell=slstm model.cell.num_heads=7 model.hidden_size=12",
        ["model.cell", "num_heads=7", "hidden_size=12", "choose a divisor"],
    ),
    "ring inside out": (
        "model/cell=lru model.cell.min_radius=0.95 model.cell.max_radius=0.9",
        ["min_radius=0.95", "max_radius=0.9"],
    ),
    "carried state in shuffled text": ("data.contiguous=false", ["task.carry=true", "task.carry=false"]),
    "slashes in the name": ("run.name=a/b", ["run.name='a/b'", "A-Z a-z 0-9"]),
    "two names for the folder": ("run.name=a run.dir=b", ["run.name=a", "run.dir=b", "one of the two"]),
    "folder below a file": ("run.dir=tiny.txt/run", ["tiny.txt/run"]),
    "root that cannot be made": ("run.root=/proc/nowhere", ["/proc/nowhere"]),
    "unknown plugin": ("plugins=[no_such_package]", ["plugins=[no_such_package]", "install it"]),
    "plugin that is no name": ("plugins=['./here']", ["plugins=[./here]", "my_package"]),
    "plugins that are no list": ("plugins=no_list", ["plugins=no_list", "a list"]),
    "word without an equal sign": ("foo", ["foo", "key=value"]),
    "value without a key": ("=3", ["=3", "key=value"]),
    "empty value": ("trainer.max_steps=", ["trainer.max_steps=", "no value"]),
    "empty choice": ("optimizer=", ["optimizer=", "no value"]),
    "no choice at all": ("optimizer=null", ["optimizer=null", "no such choice"]),
    "several values": ("seed=0,1", ["seed=0,1", "-m"]),
    "several parts": ("model/cell=gru,lstm", ["model/cell=gru,lstm", "-m"]),
    "value of the environment": ("run.name=${oc.env:HOME}", ["run.name=${oc.env:HOME}", "another value of the config"]),
    "reference to nothing": ("model.hidden_size=${model.nothing}", ["model.hidden_size", "model.nothing"]),
    "reference to itself": ("run.name=${run.name}", ["run.name"]),
    "reference that is not closed": ("'run.name=${run'", ["run.name", "${run"]),
    "unknown option": ("--fast", ["--fast", "rnntrain train --help"]),
    "unknown config to print": ("--cfg all", ["--cfg", "job"]),
    "missing config folder": ("--config-dir nowhere", ["--config-dir nowhere", "no such folder"]),
    "file for a config folder": ("--config-dir tiny.txt", ["--config-dir tiny.txt", "no such folder"]),
    "missing config": ("--config-name nowhere", ["--config-name nowhere", "--config-dir"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_key_and_the_fix(mistake: str, refused: Refused) -> None:
    words, parts = MISTAKES[mistake]
    # The mistake comes after what makes the run small, except where it is the choice of the data.
    data = [] if words == "data.path=tiny.txt" else TEXT_DATA
    line = refused("train", *data, *words.strip("'").split())
    for part in parts:
        assert part in line


@pytest.mark.parametrize("mistake", ["modle.hidden_size=8", "model.hidden_size=0", "data.path=nowhere.txt", "foo"])
def test_check_refuses_what_train_refuses(mistake: str, refused: Refused) -> None:
    assert refused("check", *TINY, mistake) == refused("train", *TINY, mistake)


FILES = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "is no text"),
    "one character": (b"a", "and 2 are needed for an input and its target; give more text"),
    "not UTF-8": (b"caf\xe9 " * 100, ":1: not UTF-8"),
    "too short for the batch": (b"abcd", "lower data.batch_size"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_will_not_do_is_named_with_what_is_wrong(file: str, workspace: Path, refused: Refused) -> None:
    content, reason = FILES[file]
    if content is not None:
        (workspace / "mine.txt").write_bytes(content)
    line = refused("train", *TINY, "data.path=mine.txt")
    assert "mine.txt" in line
    assert reason in line


def test_a_folder_with_nothing_readable_is_refused(workspace: Path, refused: Refused) -> None:
    (workspace / "pictures").mkdir()
    (workspace / "pictures" / "a.png").write_bytes(bytes(range(256)))
    assert "data.path=pictures" in refused("train", *TINY, "data.path=pictures")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_missing_cuda_device_is_refused(device: str, refused: Refused) -> None:
    line = refused("train", *TINY, f"device={device}")
    assert line.startswith("device=cuda:")
    assert "device=cpu" in line


def test_a_folder_that_holds_something_is_refused(workspace: Path, refused: Refused) -> None:
    (workspace / "full").mkdir()
    (workspace / "full" / "letter.txt").write_text("dear")
    line = refused("train", *TINY, "run.dir=full")
    assert "full" in line
    assert "not empty" in line


def test_a_folder_that_holds_a_run_is_not_written_into(trained_run: Path, refused: Refused) -> None:
    assert f"rnntrain resume {trained_run}" in refused("train", *TINY, f"run.dir='{trained_run}'")


@pytest.mark.parametrize("verb", ["resume", "eval", "sample"])
@pytest.mark.parametrize("place", ["tiny.txt", "nowhere", "."])
def test_what_is_no_run_is_refused(verb: str, place: str, refused: Refused) -> None:
    line = refused(verb, place)
    assert line.startswith(f"{place}: ")
    assert "rnntrain train" in line


def test_resume_without_a_run_says_that_none_was_interrupted(refused: Refused) -> None:
    assert "rnntrain resume RUN" in refused("resume")
    assert "rnntrain resume RUN" in refused("resume", "trainer.max_steps=9")


def test_a_prompt_outside_the_vocabulary_is_refused(trained_run: Path, refused: Refused) -> None:
    assert "'Ω'" in refused("sample", trained_run, "--prompt", "the Ω")


SAMPLING_MISTAKES = {
    "--length=0": ["--length=0", "at least 1"],
    "--length=many": ["--length", "many"],
    "--temperature=-1": ["--temperature=-1", "at least 0"],
    "--temperature=nan": ["--temperature=nan", "finite"],
    "--top-p=0": ["--top-p=0", "in (0, 1]"],
    "--top-k=-1": ["--top-k=-1", "at least 0"],
    "--num-samples=0": ["--num-samples=0", "at least 1"],
    "--seed=-1": ["--seed=-1", "at least 0"],
    "trainer.max_steps=3": ["trainer.max_steps=3", "device"],
}


@pytest.mark.parametrize("mistake", SAMPLING_MISTAKES)
def test_a_mistake_in_how_to_sample_is_refused(mistake: str, trained_run: Path, refused: Refused) -> None:
    line = refused("sample", trained_run, mistake)
    for part in SAMPLING_MISTAKES[mistake]:
        assert part in line


def test_a_split_that_is_not_there_is_refused(trained_run: Path, refused: Refused) -> None:
    assert "train, val" in refused("eval", trained_run, "--split", "test")
    assert "'val', 'test', 'train'" in refused("eval", trained_run, "--split", "vall")


RESUMING_MISTAKES = {
    "model.hidden_size=9": ["model.hidden_size=9", "start a new run"],
    "trainer.max_steps=1,2": ["trainer.max_steps=1,2", "one value"],
    "~trainer.max_steps": ["~trainer.max_steps", "null"],
    "trainer.max_step=9": ["trainer.max_step", "did you mean max_steps?"],
    "trainer.max_steps=0": ["trainer.max_steps=0", "at least 1"],
    "device=cuda:x": ["device=cuda:x", "cuda:N"],
    "device=cpu:1": ["device=cpu:1", "cuda:N"],
    "plugins=[no_such_package]": ["plugins=[no_such_package]"],
    "data.path=nowhere.txt": ["data.path=nowhere.txt"],
    "data.path=${oc.env:HOME}": ["data.path=${oc.env:HOME}"],
    "foo": ["foo", "run"],
}


@pytest.mark.parametrize("mistake", RESUMING_MISTAKES)
def test_a_mistake_in_how_to_go_on_leaves_the_run_as_it_is(
    mistake: str, trained_run: Path, workspace: Path, refused: Refused
) -> None:
    shutil.copytree(trained_run, workspace / "run")
    line = refused("resume", "run", mistake) if mistake != "foo" else refused("resume", "foo")
    for part in RESUMING_MISTAKES[mistake]:
        assert part in line


def flip_a_bit(checkpoint: Path) -> None:
    data = bytearray((checkpoint / "tensors.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (checkpoint / "tensors.safetensors").write_bytes(data)


def cut_it_short(checkpoint: Path) -> None:
    file = checkpoint / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def make_it_newer(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["sha256"]
    (checkpoint / "manifest.json").write_bytes(durable.seal({**manifest, "format": 99}))


def empty_it(checkpoint: Path) -> None:
    for file in checkpoint.iterdir():
        file.unlink()


DAMAGES = {flip_a_bit: "damaged", cut_it_short: "cut", make_it_newer: "newer format 99", empty_it: "no manifest.json"}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_with_what_is_wrong(
    damage: Callable[[Path], None], trained_run: Path, workspace: Path, refused: Refused
) -> None:
    shutil.copytree(trained_run, workspace / "run")
    for checkpoint in (workspace / "run/checkpoints").glob("step-*"):
        damage(checkpoint)
    for words in (["sample", "run"], ["eval", "run"], ["resume", "run", "trainer.max_steps=6"]):
        line = refused(*words)
        assert "run/checkpoints" in line
        assert DAMAGES[damage] in line


def test_resume_takes_the_checkpoint_before_a_damaged_one_and_says_so(
    trained_run: Path, workspace: Path, run_cli: Cli
) -> None:
    shutil.copytree(trained_run, workspace / "run")
    flip_a_bit(workspace / "run/checkpoints/step-000000004")
    answer = run_cli("resume", "run", "--quiet")
    assert answer.code == 0
    assert answer.err.startswith("rnntrain: warning: ")
    assert "step-000000004" in answer.err
    assert json.loads((workspace / "run/summary.json").read_text())["step"] == 4


def test_a_line_break_in_a_name_does_not_break_the_line(refused: Refused) -> None:
    assert r"a\nb" in refused("train", "data=text", "data.path='a\nb'")
    assert r"\x1b[31m" in refused("info", "\x1b[31mred")


@pytest.mark.parametrize("key", ["data.path", "run.dir", "run.root"])
def test_a_name_that_is_not_utf8_is_refused(key: str, refused: Refused) -> None:
    assert refused("train", *TINY, f"{key}=caf\udce9") == rf"{key}=caf\udce9: holds bytes that are not UTF-8; " + (
        "rename what it names"
    )


# -- what goes well ---


def test_a_run_ends_with_its_results_and_the_commands_to_try_next(run_cli: Cli, workspace: Path) -> None:
    answer = run_cli("train", *TINY, "run.dir=mine")
    assert answer.code == 0
    for part in (
        "rnntrain sample mine",
        "rnntrain resume mine trainer.max_steps=8",
        "rnntrain report mine",
        "rnntrain board mine",
    ):
        assert part in answer.out
    assert {path.name for path in workspace.iterdir()} == {"tiny.txt", "mine"}
    assert json.loads((workspace / "mine" / "summary.json").read_text())["step"] == 4


def test_a_run_lies_below_outputs_under_the_name_of_its_task_or_experiment(run_cli: Cli, workspace: Path) -> None:
    conf = write_configs(workspace / "conf", {"experiment/quick": "trainer:\n  max_steps: 1\n"})
    assert run_cli("train", *TINY, "run.name=first", "--quiet").code == 0
    assert run_cli("train", *TINY, "run.name=second", "--quiet", "--config-dir", conf, "experiment=quick").code == 0
    assert (workspace / "outputs/language_modeling/first/config.yaml").is_file()
    assert (workspace / "outputs/quick/second/config.yaml").is_file()


def test_check_says_what_a_config_comes_to_and_writes_nothing(run_cli: Cli, workspace: Path) -> None:
    answer = run_cli("check", *TINY)
    assert answer.code == 0
    assert "valid" in answer.out
    assert "max_steps=4" in answer.out
    assert {path.name for path in workspace.iterdir()} == {"tiny.txt"}


def test_a_run_is_resumed_evaluated_and_sampled(trained_run: Path, workspace: Path, run_cli: Cli) -> None:
    shutil.copytree(trained_run, workspace / "run")
    assert run_cli("resume", "run", "trainer.max_steps=6", "--quiet").code == 0
    metrics = json.loads(run_cli("eval", "run", "--json").out)
    assert metrics["val/loss"] == json.loads((workspace / "run/summary.json").read_text())["val/loss"]
    assert "val/loss_cold" in run_cli("eval", "run").out
    answer = run_cli("sample", "run", "--prompt", "the ", "--length", "9", "--seed", "1")
    assert answer.out.startswith("the ")
    assert len(answer.out) == len("the ") + 9 + 1
    assert answer == run_cli("sample", "run", "--prompt", "the ", "--length", "9", "--seed", "1")


def test_sample_numbers_several_samples(trained_run: Path, run_cli: Cli) -> None:
    out = run_cli("sample", trained_run, "--num-samples", "2", "--length", "3").out
    assert "--- sample 1 ---" in out
    assert "--- sample 2 ---" in out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(words: list[str], run_cli: Cli) -> None:
    answer = run_cli(*words)
    assert answer.code == 0
    for verb in VERBS:
        assert f"rnntrain {verb}" in answer.out


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "data"])
def test_each_verb_explains_itself(verb: str, run_cli: Cli) -> None:
    answer = run_cli(verb, "--help")
    assert answer.code == 0
    assert f"usage: rnntrain {verb}" in answer.out


def test_version_is_one_line(run_cli: Cli) -> None:
    assert run_cli("--version").out.startswith("rnntrain ")


def test_an_unknown_verb_is_answered_with_the_nearest(refused: Refused) -> None:
    line = refused("tarin")
    assert "did you mean train?" in line
    assert "__complete" not in line


def test_messages_survive_a_terminal_without_unicode(rnntrain_process: Start) -> None:
    process = rnntrain_process("train", "--help", env={**environment(), "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "Set values" in out


# -- what is imported ---

NEED_NO_TORCH = [
    [],
    ["--version"],
    ["train", "--help"],
    ["completion", "bash"],
    ["__complete", "--", "train", "model"],
    ["info", "model/cell"],
    ["train", "--cfg", "job", "experiment=word_lm", "data.path=x"],
    ["train", "modle.x=1"],
    ["train", "model/cell=lsmt"],
    ["train", "trainer.max_steps=abc"],
    ["train", "run.name=a/b"],
    ["train", "-m", "seed=-1,0"],
    ["sweep", "--help"],
    ["sweep", "optimizer.lr=interval(1,0)"],
    ["sweep", "model/cell=choice(gru,lsmt)"],
    ["compare", "nowhere"],
    ["resume", "nowhere"],
    ["eval", "nowhere"],
    ["sample", "nowhere"],
]


def test_help_completion_and_most_mistakes_do_not_wait_for_torch(python: Callable[[str], str]) -> None:
    lines = python(
        "import sys, contextlib, os\n"
        "from rnntrain.cli import main\n"
        f"for words in {NEED_NO_TORCH!r}:\n"
        "    with contextlib.suppress(SystemExit), open(os.devnull, 'w') as null:\n"
        "        with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):\n"
        "            main(words)\n"
        "    print('torch' in sys.modules, words)\n"
    ).splitlines()
    assert len(lines) == len(NEED_NO_TORCH)
    assert [line for line in lines if not line.startswith("False")] == []


# -- our faults ---


def test_an_internal_error_is_one_line_and_exits_1(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("something\nbroke")

    monkeypatch.setattr(commands, "check", fail)
    answer = run_cli("check", *TINY)
    assert answer.code == 1
    assert answer.err == ("rnntrain: internal error: RuntimeError: something broke (--debug shows the traceback)\n")


@pytest.mark.parametrize("place", [0, 1, -1])
def test_debug_shows_the_traceback_wherever_it_stands(place: int, run_cli: Cli) -> None:
    words = ["train", "modle.x=1", "seed=0"]
    words.insert(place if place >= 0 else len(words), "--debug")
    answer = run_cli(*words)
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("rnntrain: error: modle.x=1")


def test_a_loss_that_is_not_finite_is_the_users_to_mend(
    run_cli: Cli, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise NonFiniteError(3, float("nan"), float("inf"))

    monkeypatch.setattr(commands, "train", diverge)
    answer = run_cli("train", *TINY)
    assert answer.code == 2
    assert "optimizer.lr" in answer.err


# -- signals and pipes, which take real processes ---


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return the first line on standard error that holds `word`."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(f"{word!r} never came; the process ended with {process.wait()}")


def test_ctrl_c_saves_and_resume_goes_on(rnntrain_process: Start, run_cli: Cli, workspace: Path) -> None:
    with rnntrain_process("train", *TINY, "trainer.max_steps=100000", "run.name=long") as process:
        read_until(process, "step 1:")
        process.send_signal(signal.SIGINT)
        line = read_until(process, "saved at step")
    assert process.returncode == 75
    assert "rnntrain resume outputs/language_modeling/long" in line
    summary = json.loads((workspace / "outputs/language_modeling/long/summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert run_cli("resume", f"trainer.max_steps={summary['step'] + 2}", "--quiet").code == 0
    summary = json.loads((workspace / "outputs/language_modeling/long/summary.json").read_text())
    assert summary["status"] == "finished"


STUBBORN = """
import sys
from rnntrain.tasks.language_modeling import LanguageModeling

class Waits(LanguageModeling):
    def loss(self, output, batch):
        print("waiting", file=sys.stderr, flush=True)
        sys.stdin.read()
        return super().loss(output, batch)
"""


def test_ctrl_c_twice_stops_at_once(rnntrain_process: Start, workspace: Path) -> None:
    write_package(workspace, "stubborn", tasks=STUBBORN)
    words = (*TINY, "plugins=[stubborn]", "task._target_=stubborn.tasks.Waits", "run.name=held")
    with rnntrain_process("train", *words, stdin=subprocess.PIPE) as process:
        read_until(process, "waiting")
        process.send_signal(signal.SIGINT)
        read_until(process, "once more stops at once")
        process.send_signal(signal.SIGINT)
        line = read_until(process, "rnntrain: ")
        assert process.wait() == 130
    assert "stopped at once" in line


def test_a_reader_that_goes_away_is_no_error(rnntrain_process: Start, trained_run: Path) -> None:
    with rnntrain_process("sample", trained_run, "--length", "100000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_info_into_a_pipe_that_nobody_reads_is_no_error(rnntrain_process: Start) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with rnntrain_process("info", "model/cell", stdout=writer) as process:
        os.close(writer)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_python_m_rnntrain_is_the_command(rnntrain_process: Start) -> None:
    process = rnntrain_process("train", "modle.x=1")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("rnntrain: error: modle.x=1")


# -- multirun ---


def test_two_values_make_two_runs_each_in_its_folder(run_cli: Cli, workspace: Path) -> None:
    answer = run_cli("train", "-m", *TINY, "seed=0,1", "--quiet")
    assert answer.code == 0
    runs = sorted((workspace / "outputs/language_modeling").iterdir())
    seeds = [line for run in runs for line in (run / "config.yaml").read_text().splitlines() if "seed" in line]
    assert sorted(seeds) == ["seed: 0", "seed: 1"]
    assert {path.name for path in workspace.iterdir()} == {"tiny.txt", "outputs"}
    assert {path.name for path in (workspace / "outputs").iterdir()} == {"language_modeling", "multirun"}


def test_parts_are_swept_like_values(run_cli: Cli, workspace: Path) -> None:
    assert run_cli("train", "-m", *TINY, "model/cell=gru,vanilla", "--quiet").code == 0
    runs = (workspace / "outputs/language_modeling").iterdir()
    assert sorted("GRU" in (run / "config.yaml").read_text() for run in runs) == [False, True]


def test_a_config_of_ones_own_leaves_no_litter_in_a_sweep(run_cli: Cli, workspace: Path) -> None:
    groups = ("task: language_modeling", "data: text", "model: sequence", "optimizer: adam", "schedule: constant")
    text = "defaults:\n" + "".join(f"  - {group}\n" for group in (*groups, "device: cpu", "trainer: default"))
    conf = write_configs(workspace / "conf", {"mine": text})
    words = ("--config-dir", conf, "--config-name", "mine", *TINY, "seed=0,1", "run.root=runs", "--quiet")
    assert run_cli("train", "-m", *words).code == 0
    assert {path.name for path in workspace.iterdir()} == {"tiny.txt", "conf", "runs"}


SWEEP_MISTAKES = {
    "model.hidden_size=8,0": ["model.hidden_size=0", "at least 1"],
    "model/cell=gru,lsmt": ["model/cell=lsmt", "did you mean lstm?"],
    "modle.hidden_size=8,9": ["modle", "did you mean model?"],
    "seed=interval(0,1)": ["seed=interval(0,1)", "list the values"],
    "model/cell=glob(*)": ["model/cell=glob(*)", "list the names"],
    "seed=0,1 run.dir=here": ["here", "several runs"],
    "seed=0,1 run.name=same": ["same", "several runs"],
    "seed=0,1 run.root=/proc/nowhere": ["/proc/nowhere", "run.root"],
    "seed=0,1 hydra/launcher=nothing": ["hydra/launcher", "nothing"],
    "hydra.sweep.dir=a,b": ["hydra.sweep.dir=a,b"],
}


@pytest.mark.parametrize("mistake", SWEEP_MISTAKES)
def test_a_wrong_combination_is_refused_before_the_first_starts(mistake: str, refused: Refused) -> None:
    line = refused("train", "-m", *TINY, *mistake.split())
    for part in SWEEP_MISTAKES[mistake]:
        assert part in line


def test_a_run_that_fails_ends_the_sweep_with_its_line(run_cli: Cli, workspace: Path) -> None:
    answer = run_cli("train", "-m", *TINY, "data.path=tiny.txt,gone.txt,tiny.txt", "--quiet")
    assert answer.code == 2
    assert answer.err.startswith("rnntrain: error: data.path=gone.txt")
    assert answer.err.count("\n") == 1
    assert len(list((workspace / "outputs/language_modeling").iterdir())) == 1


def test_ctrl_c_ends_the_whole_sweep(rnntrain_process: Start, workspace: Path) -> None:
    words = (*TINY, "seed=0,1", "trainer.max_steps=100000")
    with rnntrain_process("train", "-m", *words) as process:
        read_until(process, "step 1:")
        process.send_signal(signal.SIGINT)
        read_until(process, "saved at step")
    assert process.returncode == 75
    assert len(list((workspace / "outputs/language_modeling").iterdir())) == 1


def test_this_interpreter_is_the_one_that_runs(python: Callable[[str], str]) -> None:
    assert python("import sys; print(sys.executable)").strip() == sys.executable
