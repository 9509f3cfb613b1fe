"""Write docs/reference.md and docs/cells.md from the code; `--check` only says whether they are what it says.

python scripts/make_reference.py [--check]
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

from rnntrain.configuring import config_files as files
from rnntrain.configuring.checking import describe_type, parameters_of
from rnntrain.configuring.targets import SLOTS, resolve_target
from rnntrain.info import shown_default
from rnntrain.settings import DeviceSettings, RunSettings, TopSettings, TrainerSettings
from rnntrain.verbs import VERBS

DOCS = Path(__file__).resolve().parent.parent / "docs"

KINDS = {
    "Classic": "rnn vanilla lstm gru peephole_lstm projected_lstm coupled_lstm janet leaky clockwork skip dilated",
    "For long memory": "irnn orthogonal indrnn antisymmetric cornn",
    "Normalised and regularised": "layernorm_lstm layernorm_gru regularized_lstm regularized_gru weight_drop",
    "Parallel in time": "mingru minlstm sru qrnn lru gated_linear rglru",
    "Current": "slstm mlstm deltanet",
    "To compare with": "transformer tcn",
}

CELLS_HEAD = """\
# The equations of all cells

`model/cell=NAME` chooses one. σ is the logistic function, ⊙ the product of elements; x_t is the input, h_t the
output and, unless said otherwise, the state. Written by `scripts/make_reference.py` from the docstrings of the
cells: what stands here is what runs.

## Three things that tutorials often get wrong

- There is no `torch.nn.VanillaRNN`. The plain network is `torch.nn.RNN` (here `model/cell=rnn`, and `vanilla` as a
  loop to read).
- The new hidden state **replaces** the old one, `h_t = tanh(W_hh h_{t-1} + W_xh x_t + b)`. It is not added to it; a
  network that adds it is another one (`model.residual=true` adds across layers, `leaky` mixes old and new).
- The GRU's update is `h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t`, with no reset gate in the first term: the reset gate
  acts inside h̃_t alone. PyTorch, and so `gru` here, names the gate the other way round, `h_t = (1 - z_t) ⊙ n_t +
  z_t ⊙ h_{t-1}`; the two are the same function of other weights.
"""

REFERENCE_HEAD = """\
# Reference

Every choice and every key, written by `scripts/make_reference.py` from the code. `rnntrain info GROUP/NAME` prints
the same of one part. Keys are set as `key=value`, choices as `GROUP=NAME`. The equations of the cells are on [a
page of their own](cells.md).
"""

SECTIONS = {"": TopSettings, "trainer": TrainerSettings, "run": RunSettings, "device": DeviceSettings}


def cells_page() -> str:
    """Return the page of equations.

    Raises:
        ValueError: if a cell has no place in `KINDS`, or a place no cell.
    """
    listed = [name for names in KINDS.values() for name in names.split()]
    if sorted(listed) != sorted(files.choices("model/cell")):
        raise ValueError(f"KINDS and configs/model/cell differ: {set(listed) ^ set(files.choices('model/cell'))}")
    lines = [CELLS_HEAD]
    for kind, names in KINDS.items():
        lines += [f"## {kind}", "", *(line for name in names.split() for line in cell_lines(name))]
    return "\n".join(lines)


def cell_lines(name: str) -> list[str]:
    """Return one cell: its description, its equations, and what its docstring says before the arguments."""
    cls = resolve_target("model.cell", files.read_choice("model/cell", name)["_target_"], [])
    text = re.split(r"^(?:Args|Raises|Attributes):$", inspect.getdoc(cls) or "", maxsplit=1, flags=re.MULTILINE)[0]
    equations, _, rest = text.partition("\n\n")
    return [
        f"### {name}",
        "",
        files.description("model/cell", name),
        "",
        "```text",
        equations,
        "```",
        "",
        rest.strip(),
        "",
    ]


def reference_page() -> str:
    """Return the page of all verbs, sections and choices."""
    lines = [REFERENCE_HEAD, "## Verbs", "", "| verb | |", "|---|---|"]
    lines += [
        f"| `{f'rnntrain {name} {_escaped(verb.arguments)}'.rstrip()}` | {verb.summary} |"
        for name, verb in VERBS.items()
    ]
    lines += ["", "## Keys of the fixed sections", ""]
    for section, cls in SECTIONS.items():
        lines += settings_lines(section, cls)
    for group in files.GROUPS:
        if group != "model/cell":
            lines += group_lines(group)
    return "\n".join(lines).rstrip() + "\n"


def settings_lines(section: str, cls: type) -> list[str]:
    """Return a table of the keys of one settings dataclass, explained by its docstring."""
    explained = explanations(cls)
    title = f"### `{section}`" if section else "### In no section"
    return [title, "", *table(cls, f"{section}." if section else "", {}, (), explained), ""]


def group_lines(group: str) -> list[str]:
    """Return all choices of one group, each with its keys."""
    lines = [f"## `{group}=`", ""]
    for name in files.choices(group):
        values = files.read_choice(group, name)
        target = str(values.get("_target_"))
        lines += [f"### `{group}={name}`", "", files.description(group, name), ""]
        section = group.replace("/", ".")
        if section in SLOTS and target.startswith("rnntrain."):
            cls = resolve_target(section, target, [])
            lines += [*table(cls, f"{section}.", values, SLOTS[section].supplied, explanations(cls)), ""]
    return lines


def table(
    cls: type, prefix: str, values: dict[str, object], supplied: tuple[str, ...], explained: dict[str, str]
) -> list[str]:
    """Return a Markdown table of the parameters of a class."""
    rows = []
    for key, (annotation, default) in parameters_of(cls).items():
        if key not in supplied:
            cells = f"`{prefix}{key}`", f"`{shown_default(values.get(key, default))}`", describe_type(annotation)
            rows.append(f"| {' | '.join((*cells, explained.get(key, '')))} |")
    return (
        ["| key | default | takes | |", "|---|---|---|---|", *(row.replace("\n", " ") for row in rows)] if rows else []
    )


def explanations(cls: type) -> dict[str, str]:
    """Return what the docstring says of each argument or attribute."""
    text = inspect.getdoc(cls) or ""
    found = re.search(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)", text, flags=re.MULTILINE)
    entries = re.split(r"^    (\w+): ", found[1], flags=re.MULTILINE)[1:] if found else []
    return {name: _escaped(" ".join(said.split())) for name, said in zip(entries[::2], entries[1::2], strict=True)}


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")  # which would end the cell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is stale")
    options = parser.parse_args()
    pages = {DOCS / "cells.md": cells_page(), DOCS / "reference.md": reference_page()}
    stale = [page for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        said = "is not what the code says; run scripts/make_reference.py" if options.check else "written"
        print(f"{page.relative_to(DOCS.parent)}: {said}")
        if not options.check:
            page.write_text(pages[page], encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
