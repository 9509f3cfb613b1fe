"""A config is composed from our files, the user's and the command line; nothing in it runs, nothing is guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import TINY, Answer, write_configs

from rnntrain import using
from rnntrain.build import build
from rnntrain.config import check, compose, flatten, from_yaml, override, to_yaml
from rnntrain.configuring.config_files import (
    GROUPS,
    LIMIT_BYTES,
    OPTIONAL_GROUPS,
    OTHER_GROUPS,
    choices,
    description,
    package_config_dir,
    read_choice,
)
from rnntrain.errors import UserError
from rnntrain.runs.record import accept
from rnntrain.runs.run import RunDir

Cli = Callable[..., Answer]
Refused = Callable[..., str]

SHIPPED = [(group, name) for group in GROUPS for name in choices(group)]
# What a language model can be trained with as it is; the tasks, data and experiments of others cannot.
OF_LANGUAGE = {
    "task/language_modeling",
    "data/text",
    "data/shakespeare",
    "experiment/tinyshakespeare",
    "experiment/word_lm",
}
OF_OTHER_TASKS = {
    (group, name)
    for group, name in SHIPPED
    if group in ("task", "data", "experiment") and f"{group}/{name}" not in OF_LANGUAGE
}
OWN_CONFIG = (
    "defaults:\n  - task: language_modeling\n  - data: text\n  - model: sequence\n  - optimizer: adam\n"
    "  - schedule: constant\n  - device: cpu\n  - trainer: default\n  - _self_\n"
    "data:\n  path: tiny.txt\ntrainer:\n  max_steps: 7\n"
)


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- what ships ---


@pytest.mark.parametrize(("group", "name"), SHIPPED, ids="/".join)
def test_each_choice_has_a_description_of_one_line(group: str, name: str, run_cli: Cli) -> None:
    assert description(group, name)
    answer = run_cli("info", f"{group}/{name}")
    assert answer.code == 0
    assert answer.out.startswith(f"{group}={name}: {description(group, name)}\n")


@pytest.mark.parametrize(("group", "name"), sorted(set(SHIPPED) - OF_OTHER_TASKS - {("device", "cuda")}), ids="/".join)
@pytest.mark.usefixtures("workspace")
def test_each_choice_can_be_trained_with(group: str, name: str) -> None:
    words = [word for word in TINY if not word.startswith("data=" if group == "data" else "none")]
    if (group, name) == ("data", "shakespeare"):
        words = [word for word in words if not word.startswith("data.path")]
    config = check(compose([f"{group}={name}", *words]))
    if name != "shakespeare":  # five megabytes, which other tests read
        build(config).trainer.train_step()


@pytest.mark.parametrize(("group", "name"), sorted(OF_OTHER_TASKS), ids="/".join)
def test_each_choice_of_another_task_is_valid(group: str, name: str) -> None:
    """What they come to is seen in the tests of the tasks; here, that every key of theirs is one that there is."""
    words = [f"{group}={name}", *(["task.carry=false"] if group == "data" else [])]
    if read_choice(group, name).get("path") == "???":
        words.append("data.path=tiny.txt")
    check(compose(words))


@pytest.mark.parametrize("name", choices("debug"))
def test_debug_needs_no_plus_and_takes_one(name: str) -> None:
    expected = from_yaml((package_config_dir() / f"debug/{name}.yaml").read_text(), name)["trainer"]
    for word in (f"debug={name}", f"+debug={name}"):
        assert expected.items() <= compose([word])["trainer"].items()


def test_what_is_typed_wins_over_the_experiment_and_the_experiment_over_the_rest() -> None:
    base = ["experiment=word_lm", "data.path=x"]
    assert compose(base)["trainer"]["max_epochs"] == 6
    assert compose([*base, "trainer.max_epochs=2"])["trainer"]["max_epochs"] == 2
    assert compose(["trainer.max_epochs=2", *base])["trainer"]["max_epochs"] == 2


@pytest.mark.parametrize("word", ["~experiment", "experiment=null", "~debug", "debug=null"])
def test_an_optional_choice_can_be_left_out_by_name(word: str) -> None:
    assert compose([word]) == compose([])


def test_a_key_that_no_file_mentions_needs_no_plus() -> None:
    assert compose(["model.cell.forget_bias=2"])["model"]["cell"]["forget_bias"] == 2
    assert compose(["+model.hidden_size=8"]) == compose(["++model.hidden_size=8"]) == compose(["model.hidden_size=8"])


def test_a_key_can_be_taken_away() -> None:
    assert "weight_decay" not in compose(["~optimizer.weight_decay"])["optimizer"]


def test_a_choice_may_be_written_with_a_plus() -> None:
    assert compose(["+data=text", "data.path=x"]) == compose(["data=text", "data.path=x"])


def test_a_device_number_is_part_of_the_choice() -> None:
    assert compose(["device=cuda:3"])["device"] == {"kind": "cuda", "index": 3}


# -- values ---


def test_a_whole_number_may_be_written_as_1e3() -> None:
    steps = check(compose(["trainer.max_steps=1e3"])).trainer.max_steps
    assert steps == 1000
    assert type(steps) is int


PATHS = [
    "a b.txt",
    "Bücher.txt",
    "a (1).txt",
    "a=b.txt",
    "it's.txt",
    "[draft].txt",
    "{x}.txt",
    "#1.txt",
    "50%.txt",
    "~/a.txt",
    "a&b;c.txt",
    "c:/d.txt",
    "日本語.txt",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_as_it_is_typed(path: str) -> None:
    assert compose(["data=text", f"data.path={path}"])["data"]["path"] == path
    assert override({"data": {}}, [f"data.path={path}"], ("data.path",))["data"]["path"] == path


@pytest.mark.parametrize("path", ["a,b.txt", "2024", "1e5", "true", "null", " a ", 'say "a".txt', "a\\b"])
def test_a_value_that_reads_as_something_else_is_a_text_in_quotes(path: str) -> None:
    assert compose(["data=text", f"data.path='{path}'"])["data"]["path"] == path


def test_one_value_may_refer_to_another() -> None:
    composed = compose(["model.hidden_size=24", "model.embedding_size=${model.hidden_size}"])
    assert composed["model"]["embedding_size"] == 24


RESOLVERS = ["${oc.env:HOME}", "${now:%Y}", "${oc.decode:'1'}", "${${run.root}:x}", "${oc.env:A,${seed}}", "${a:{b:1}}"]


@pytest.mark.parametrize("text", RESOLVERS)
def test_a_reference_that_does_more_than_name_a_value_is_refused(text: str, workspace: Path) -> None:
    assert "another value" in refusal(compose, [f"run.name={text}"])
    assert "another value" in refusal(compose, [f"run.name='{text}'"])
    conf = write_configs(workspace, {"experiment/mine": f'run:\n  name: "{text}"\n'})
    assert "mine.yaml:2: " in refusal(compose, ["experiment=mine"], conf)


def test_the_defaults_list_of_a_file_cannot_read_the_environment(workspace: Path) -> None:
    conf = write_configs(workspace, {"experiment/mine": "defaults:\n  - override /data: ${oc.env:HOME}\n"})
    assert "mine.yaml:2: " in refusal(compose, ["experiment=mine"], conf)


# -- files of one's own ---


def test_an_experiment_of_ones_own_changes_the_whole_config(workspace: Path) -> None:
    text = "defaults:\n  - override /model/cell: gru\nmodel:\n  hidden_size: 24\n"
    places = {"first": "# @package _global_\n", "second": "# What it is for\n# @package _global_\n", "none": "# It\n"}
    conf = write_configs(workspace, {f"experiment/{name}": head + text for name, head in places.items()})
    for name in places:
        composed = compose([f"experiment={name}"], conf)
        assert composed["model"]["hidden_size"] == 24
        assert composed["model"]["cell"]["_target_"] == "rnntrain.cells.gru.GRU"
        assert composed["run"]["group"] == name


def test_a_whole_config_of_ones_own_uses_our_groups(workspace: Path) -> None:
    conf = write_configs(workspace, {"mine": OWN_CONFIG, "longer": "defaults: [mine, _self_]\nseed: 3\n"})
    config = check(compose([], conf, "mine"))
    assert (config.trainer.max_steps, config.device.kind) == (7, "cpu")
    assert compose(["seed=3"], conf, "mine") == compose([], conf, "longer")


@pytest.mark.parametrize("word", ["experiment=mine", "+experiment=mine", "debug=fast"])
def test_a_config_of_ones_own_need_not_list_the_optional_groups(word: str, workspace: Path) -> None:
    conf = write_configs(workspace, {"mine": OWN_CONFIG, "experiment/mine": "trainer:\n  max_steps: 4\n"})
    assert compose([word], conf, "mine")["trainer"]["max_steps"] == 4
    assert compose(["experiment=null", "~debug"], conf, "mine") == compose([], conf, "mine")


def test_a_group_of_ones_own_stands_beside_ours_and_wins_over_it(workspace: Path) -> None:
    files = {
        "optimizer/mine": "# Mine\n_target_: torch.optim.NAdam\nlr: 0.5\n",
        "optimizer/sgd": "_target_: torch.optim.SGD\nlr: 9.0\n",
    }
    conf = write_configs(workspace, files)
    assert compose(["optimizer=mine"], conf)["optimizer"]["lr"] == 0.5
    assert compose(["optimizer=sgd"], conf)["optimizer"]["lr"] == 9.0
    assert "adamw, mine" in refusal(compose, ["optimizer=mien"], conf)
    assert description("optimizer", "mine", conf) == "Mine"


OWN_MISTAKES = {
    "model:\n  hiden_size: 8\n": ["model.hiden_size", "did you mean hidden_size?"],
    "trainer:\n  max_step: 8\n": ["trainer.max_step", "did you mean max_steps?"],
    "sed: 1\n": ["sed", "did you mean seed?"],
    "optmizer:\n  lr: 1\n": ["optmizer", "did you mean optimizer?"],
    "model:\n  hidden_size: abc\n": ["model.hidden_size=abc", "a whole number"],
    "model:\n  hidden_size: 0\n": ["model.hidden_size=0", "at least 1"],
    "optimizer:\n  lr: .nan\n": ["optimizer.lr=nan", "finite"],
    "trainer: 3\n": ["trainer=3", "trainer=NAME"],
    "trainer:\n": ["trainer"],
    "trainer: [1]\n": ["experiment/mine"],
    "defaults:\n  - override /model/cell: lsmt\n": ["model/cell/lsmt", "gru"],
    "defaults:\n  - override /modle: x\n": ["modle"],
    "data: [1\nb: 2\n": ["mine.yaml:2: is no YAML"],
    "seed: 1\nseed: 2\n": ["mine.yaml:2: is no YAML", "duplicate key seed"],
    "seed: " + "9" * 5000: ["mine.yaml", "is no YAML"],
    "a\x01b: 1\n": ["mine.yaml", "is no YAML"],
    "- a\n": ["mine.yaml: holds no config"],
    "seed: &a 1\nthreads: *a\n": ["mine.yaml:2: aliases"],
    "a: " + "[" * 100 + "]" * 100 + "\n": ["mine.yaml:1: is nested deeper"],
    "seed: 1\n" + "#" * LIMIT_BYTES: ["mine.yaml: is larger than"],
}


@pytest.mark.parametrize("text", OWN_MISTAKES, ids=lambda text: repr(text[:40]))
def test_a_mistake_in_a_file_of_ones_own_is_refused(text: str, workspace: Path, refused: Refused) -> None:
    conf = write_configs(workspace / "conf", {"experiment/mine": text})
    line = refused("train", "--config-dir", conf, "experiment=mine")
    for part in OWN_MISTAKES[text]:
        assert part in line


def test_a_file_that_is_not_utf8_is_named_with_the_line(workspace: Path, refused: Refused) -> None:
    conf = write_configs(workspace / "conf", {"experiment/mine": ""})
    (conf / "experiment/mine.yaml").write_bytes(b"seed: 1\n# caf\xe9\n")
    assert "mine.yaml:2: not UTF-8" in refused("check", "--config-dir", conf, "experiment=mine")


def test_a_small_file_cannot_grow_into_a_large_config(workspace: Path, refused: Refused) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    conf = write_configs(workspace / "conf", {"experiment/bomb": "\n".join(lines), "bomb": "\n".join(lines)})
    assert "bomb.yaml:2: aliases" in refused("check", "--config-dir", conf, "experiment=bomb")
    assert "bomb.yaml:2: aliases" in refused("check", "--config-dir", conf, "--config-name", "bomb")
    assert "bomb.yaml:2: aliases" in refused("info", "--config-dir", conf, "experiment/bomb")


HYDRA_SECTIONS = {
    "callbacks": "hydra:\n  callbacks:\n    x:\n      _target_: os.mkdir\n      path: caught\n",
    "sweeper": "hydra:\n  sweeper:\n    params:\n      x: {_target_: os.mkdir, path: caught}\n",
    "launcher": "hydra:\n  launcher:\n    _target_: os.mkdir\n",
    "job_logging": "hydra:\n  job_logging:\n    handlers:\n      x: {(): os.mkdir, path: caught}\n",
    "job.env_set": "hydra:\n  job:\n    env_set: {PATH: .}\n",
}


@pytest.mark.parametrize("part", HYDRA_SECTIONS)
def test_a_file_cannot_make_hydra_call_anything(part: str, workspace: Path, refused: Refused) -> None:
    conf = write_configs(workspace / "conf", {"mine": "defaults: [train, _self_]\n" + HYDRA_SECTIONS[part]})
    line = refused("train", "-m", *TINY, "--config-dir", conf, "--config-name", "mine", "seed=0,1")
    assert f"hydra.{part}" in line


def test_a_file_cannot_make_hydra_import_anything(workspace: Path, refused: Refused) -> None:
    (workspace / "spy.py").write_text("open('caught', 'w')")
    text = "defaults: [train, _self_]\nhydra:\n  searchpath: ['pkg://spy']\n"
    conf = write_configs(workspace / "conf", {"mine": text})
    assert "hydra.searchpath" in refused("check", "--config-dir", conf, "--config-name", "mine")


# -- what is written down ---


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["debug=overfit", "seed=4"],
        ["experiment=word_lm", "data.path=a b.txt"],
        ["data=text", "data.path='1e5'", "run.name='2024'", "plugins=[]", "optimizer.betas=[0.9,0.99]"],
        ["data=text", "data.path='null'", "data.val_path='1_0e+5'", "optimizer.lr=1e-5", "trainer.max_minutes=0.5"],
    ],
)
def test_the_printed_config_is_a_config_that_gives_the_same(words: list[str], workspace: Path, run_cli: Cli) -> None:
    printed = run_cli("train", "--cfg", "job", *words).out
    assert from_yaml(printed, "printed") == compose(words)
    conf = write_configs(workspace / "conf", {"again": printed})
    assert run_cli("train", "--cfg", "job", "--config-dir", conf, "--config-name", "again").out == printed


def test_the_recorded_config_is_the_one_that_was_checked(trained_run: Path) -> None:
    recorded = from_yaml((trained_run / "config.yaml").read_text(), "config.yaml")
    assert check(recorded).plain == recorded
    assert recorded["model"]["hidden_size"] == 8
    assert recorded["run"]["dir"] == str(trained_run)


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "a: [", "a: *b\n", "a: !!python/object/apply:os.mkdir [caught]\n", "3\n"]
)
def test_a_recorded_config_that_is_none_is_refused(text: str, workspace: Path) -> None:
    assert refusal(from_yaml, text, "run/config.yaml").startswith("run/config.yaml")
    assert not (workspace / "caught").exists()


@pytest.mark.parametrize(
    "text", ["1e5", "null", "0x10", "1:30", "2024-01-01", "~", "a: b", "Ä", "", "${x}", "a${b", " a"]
)
def test_a_text_stays_a_text(text: str) -> None:
    assert from_yaml(to_yaml({"key": text}), "here") == {"key": text}


def test_a_recorded_reference_is_not_followed() -> None:
    recorded = {"data": {"path": "${oc.env:HOME}", "val_path": "a${b"}, "trainer": {"max_steps": 3}}
    changed = override(recorded, ["trainer.max_steps=4"], ("trainer.",))
    assert changed == {**recorded, "trainer": {"max_steps": 4}}
    assert recorded["trainer"] == {"max_steps": 3}


@pytest.mark.parametrize(("word", "device"), [("cpu", ("cpu", 0)), ("cuda:2", ("cuda", 2)), ("auto", ("auto", 0))])
def test_the_device_of_a_recorded_run_can_change(word: str, device: tuple[str, int]) -> None:
    changed = override({"device": {"kind": "cuda", "index": 1, "tf32": False}}, [f"device={word}"], ("device",))
    assert changed["device"] == {"kind": device[0], "index": device[1], "tf32": False}


CELL_MISTAKES = {
    "model/cell=regularized_lstm model.cell.zoneout_cell=1.5": ["model.cell.zoneout_cell=1.5", "in [0, 1)"],
    "model/cell=layernorm_lstm model.cell.zoneout_hiden=0.1": ["zoneout_hiden", "did you mean zoneout_hidden?"],
    "model/cell=layernorm_gru model.cell.zoneout=-0.1": ["model.cell.zoneout=-0.1", "in [0, 1)"],
    "model/cell=regularized_gru model.cell.dropped=input": ["model.cell.dropped=input", "update or state"],
    "model/cell=lstm model.cell.t_max=1": ["model.cell.t_max=1", "at least 2"],
    "model/cell=gru model.cell.t_max=1": ["model.cell.t_max=1", "at least 2"],
    "model/cell=janet model.cell.t_max=1.5": ["model.cell.t_max=1.5", "a whole number"],
    "model/cell=lstm model.cell.t_max=9 model.cell.uniform_gates=true": ["model.cell.t_max=9", "leave out one"],
    "model/cell=projected_lstm model.cell.projection_size=9": ["model.cell.projection_size=9", "at most 8"],
    "model/cell=clockwork model.cell.periods=[1,2,4]": ["model.cell.periods=[1, 2, 4]", "3 groups"],
    "model/cell=clockwork model.cell.periods=[1,0]": ["model.cell.periods=[1, 0]", "expected a list"],
    "model/cell=leaky model.cell.tau_min=1": ["model.cell.tau_min=1", "greater than 1"],
    "model/cell=leaky model.cell.tau_max=1.1": ["model.cell.tau_max=1.1", "below tau_min=1.25"],
    "model/cell=skip model.cell.skip=1": ["model.cell.skip=1", "at least 2"],
    "model/cell=dilated model.cell.inner=lsmt": ["model.cell.inner=lsmt", "did you mean lstm?"],
    "model/cell=orthogonal model.cell.map=expm": ["model.cell.map=expm", "cayley or exp"],
}


@pytest.mark.parametrize("words", CELL_MISTAKES)
def test_what_a_cell_cannot_be_is_refused(words: str, refused: Refused) -> None:
    line = refused("train", *TINY, *words.split())
    for part in CELL_MISTAKES[words]:
        assert part in line


def test_a_value_in_the_place_of_a_section_is_refused() -> None:
    assert "trainer=3" in refusal(override, {"trainer": 3}, ["trainer.max_steps=1"], ("trainer.",))
    assert "trainer=3" in refusal(check, {**compose([]), "trainer": 3})


@pytest.mark.parametrize("key", ["task", "data", "model", "optimizer", "schedule"])
def test_a_recorded_config_without_a_part_is_refused(key: str) -> None:
    plain = compose([])
    del plain[key]
    assert refusal(check, plain).startswith(f"{key}: no class is named")


@pytest.mark.parametrize("plugins", [3, "abc", {"a": 1}, [1], None])
def test_recorded_plugins_of_any_kind_are_answered(plugins: Any, trained_run: Path, workspace: Path) -> None:
    shutil.copytree(trained_run, workspace / "run")
    recorded = from_yaml((workspace / "run/config.yaml").read_text(), "config.yaml")
    (workspace / "run/config.yaml").write_text(to_yaml({**recorded, "plugins": plugins}))
    accept(RunDir(workspace / "run"))
    if plugins is None:
        assert using.load(workspace / "run").step
    else:
        assert "plugins" in refusal(using.load, workspace / "run")


def test_values_are_flattened_by_dotted_key() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


def test_composing_leaves_the_hydra_of_a_calling_program_alone() -> None:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(package_config_dir()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose([])
        assert GlobalHydra.instance().hydra is before
    assert not GlobalHydra.instance().is_initialized()


def test_optional_groups_are_groups() -> None:
    assert set(OPTIONAL_GROUPS) < set(GROUPS)
    configs = package_config_dir()
    assert {str(file.parent.relative_to(configs)) for file in configs.glob("*/**/*.yaml")} <= {*GROUPS, *OTHER_GROUPS}


def test_cells_of_a_stack_are_read_by_name_and_recorded_whole() -> None:
    plain = compose(["model.cells=[lstm,gru]", "model.hidden_size=8"])
    assert [each["_target_"] for each in plain["model"]["cells"]] == [
        "rnntrain.cells.lstm.LSTM",
        "rnntrain.cells.gru.GRU",
    ]
    checked = check(plain)
    assert checked.cell_names == "LSTM, GRU"
    assert checked.model.arguments["num_layers"] == 2
    assert check(from_yaml(to_yaml(plain), "record")).cells == checked.cells


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model.cells=[lstm,grue]", ["model.cells[1]=grue", "did you mean gru?"]),
        ("model.cells=lstm", ["model.cells=lstm", "expected a list of cells"]),
        ("model.cells=[]", ["model.cells=[]", "expected a list of cells"]),
    ],
)
def test_wrong_cells_of_a_stack_are_refused(override: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check(compose([override]))
    assert all(part in str(error.value) for part in parts)


def test_an_encoder_is_refused_where_it_would_see_what_it_is_to_predict() -> None:
    """`model.bidirectional` says nothing of a cell that reads both directions by itself."""
    words = ["task=step_classification", "data=delayed_recall", "model/cell=transformer", "model.cell.causal=false"]
    with pytest.raises(UserError, match=r"among them those it is to predict; set model\.cell\.causal=true"):
        build(check(compose(words)))


# -- references that grow ---


def test_references_may_not_grow_without_end() -> None:
    from rnntrain.configuring.config_files import check_growth

    chain = {"a0": "x" * 10} | {f"a{n}": f"${{a{n - 1}}}" * 10 for n in range(1, 12)}
    with pytest.raises(UserError, match="come to more than 1,048,576 signs"):
        check_growth(chain)
    nested = {"s": {"a0": [1, 1]} | {f"a{n}": [f"${{s.a{n - 1}}}", f"${{..a{n - 1}}}"] for n in range(1, 40)}}
    with pytest.raises(UserError, match="signs"):
        check_growth(nested)
    check_growth({"a": "${b}", "b": "${c.d[0]}", "c": {"d": ["${.e}", 1], "e": "${a}"}, "f": "${none.such}"})
    check_growth({"model": {"hidden_size": 8, "embedding_size": "${.hidden_size}", "cell": {"x": "${model.dropout}"}}})
