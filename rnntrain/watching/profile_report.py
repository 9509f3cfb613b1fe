"""A profile in a table and in words."""

from __future__ import annotations

from collections.abc import Mapping

# Parts in the order in which a step passes through them; those of the model stand between.
BEFORE = ("data", "rest of the step")
AFTER = (
    "loss",
    "backward",
    "clipping and checks",
    "optimizer",
    "log: progress",
    "log: numbers",
    "log: texts and pictures",
    "evaluation",
    "save",
)
# What to try where a part takes more than so much of the time of a step.
ADVICE = (
    ("data", 0.15, "the model waits for its data: raise data.batch_size, or make reading cheaper"),
    ("forward: head", 0.35, "the output layer: task.output=adaptive for many words, or a smaller vocabulary"),
    ("loss", 0.35, "the output layer and its loss: task.output=adaptive for many words, or a smaller vocabulary"),
    ("forward: layer", 0.25, "the recurrence: `rnntrain build` once, precision=bfloat16, or fewer units"),
    (
        "backward",
        0.4,
        "the backward pass, which costs about twice the forward pass: what makes that cheaper helps here",
    ),
    ("optimizer", 0.2, "the optimizer: many weights for little work; a larger data.batch_size shares its cost"),
    ("clipping and checks", 0.15, "clipping: small steps wait for its norm; raise data.batch_size"),
    ("rest of the step", 0.2, "small steps: what PyTorch does once a step outweighs its work; raise data.batch_size"),
    ("log", 0.1, "logging: raise trainer.log_every_steps"),
    ("evaluation", 0.3, "evaluation: raise trainer.eval_every_steps, or set trainer.eval_batches"),
    ("save", 0.15, "saving: raise trainer.checkpoint_every_steps"),
)


def profile_lines(seconds: Mapping[str, float], steps: int, left_out: int) -> list[str]:
    """Return the table of the parts, largest shares marked, and what they mean.

    Args:
        seconds: by part, over all steps that were counted.
        left_out: steps before those.
    """
    total = sum(seconds.values())
    if not steps or total <= 0:
        return [f"profile: a run of more than {left_out} steps is needed; raise trainer.max_steps"]
    names = [*(n for n in BEFORE if n in seconds), *(n for n in seconds if n not in (*BEFORE, *AFTER))]
    names += [name for name in AFTER if name in seconds]
    width = max(map(len, names))
    lines = [f"Where the time of a step goes, over {steps:,} steps ({1000 * total / steps:.3g} ms each):"]
    for name in names:
        share = seconds[name] / total
        bar = "█" * round(30 * share)
        lines.append(f"  {name:<{width}}  {1000 * seconds[name] / steps:>9.3f} ms  {share:>6.1%}  {bar}".rstrip())
    return [*lines, *_in_words(seconds, total)]


def _in_words(seconds: Mapping[str, float], total: float) -> list[str]:
    found = []
    for prefix, limit, text in ADVICE:
        share = sum(value for name, value in seconds.items() if name.startswith(prefix)) / total
        if share >= limit:
            found.append((share, f"{share:.0%} of the time: {text}"))
    return [text for _, text in sorted(found, reverse=True)]
