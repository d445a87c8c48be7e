"""Write the model card of a run, in Markdown, from what is known of it."""

from __future__ import annotations

import html
import math
import re
import shlex
from collections.abc import Iterable, Sequence

from training.environment import hide_homes
from training.evaluation.scores import overall_scores
from training.findings import Findings
from training.report_page.tables import duration, number
from training.run_folder import LAST

NUM_WORST = 5


def write_card(findings: Findings) -> bytes:
    """Give the card as UTF-8."""
    parts = (_title, _use, _score, _limits, _data, _making)
    return "\n\n".join(part(findings) for part in parts).encode("utf-8", "replace") + b"\n"


def _title(findings: Findings) -> str:
    last = findings.last
    spec = last.spec
    about = f"{escape(last.description)}\n\n" if last.description else ""
    size = {
        "native": "at their own size",
        "longest": f"shrunk until their longer side is at most {spec.size.side} pixels",
        "shortest": f"scaled until their shorter side is {spec.size.side} pixels",
    }[spec.size.policy]
    return (
        f"# {escape(last.name)}\n\n{about}"
        f"`{spec.architecture}` for {spec.num_classes} classes, {findings.num_parameters / 1e6:.2f} M parameters, "
        f"{last.dtype} weights. It sees images {size}."
    )


def _use(findings: Findings) -> str:
    data = hide_homes(shlex.quote(findings.recipe.val))
    commands = (f"segserve serve --checkpoints {LAST}", f"segtrain evaluate {LAST} --data {data}")
    return (
        f"## Use\n\nIn the folder of the run:\n\n{_shell(*commands)}\n\n"
        "The file is all that is needed: it holds the weights and says how to rebuild and feed the network."
    )


def _score(findings: Findings) -> str:
    found, (low, high) = findings.found, findings.found.interval
    scores = overall_scores(found)
    set_name = escape(findings.val_name)
    total = _table(
        ("score", "value", "set", "images", "resolution"),
        ((name, number(value), set_name, str(found.num_images), "original") for name, value in scores.items()),
    )
    by_class = _table(
        ("class", "IoU", "accuracy", "boundary IoU"),
        (
            (escape(name), *map(number, values))
            for name, *values in zip(
                findings.last.spec.classes,
                found.scores.iou.tolist(),
                found.scores.accuracy.tolist(),
                found.boundary.iou.tolist(),
                strict=True,
            )
        ),
    )
    return (
        f"## Score\n\nmIoU **{number(found.scores.mean_iou)}** (95 % interval of the bootstrap: {number(low)} to "
        f"{number(high)}) over {found.num_images} images of {set_name}, at the images' own resolution, from one "
        f"confusion matrix. {_told_best(findings)}\n\n{total}\n\n{by_class}"
    )


def _told_best(findings: Findings) -> str:
    """Say how the scored checkpoint was chosen: what is best on a set looks better there than it is."""
    best = findings.best_iou
    if findings.best is None or findings.best.sha256 == findings.last.sha256:
        return "The checkpoint is the last of its run."
    return (
        f"The checkpoint is the last of its run, not the one that did best on these images, which had {number(best)} "
        "when it was saved."
    )


def _limits(findings: Findings) -> str:
    ious = dict(zip(findings.last.spec.classes, findings.found.scores.iou.tolist(), strict=True))
    present = sorted((iou, name) for name, iou in ious.items() if not math.isnan(iou))
    num_worst = min(NUM_WORST, len(present) // 2)
    worst = ", ".join(f"{escape(name)} ({iou:.4f})" for iou, name in present[:num_worst])
    lines = [f"It comes out worst for {worst}."] if worst else []
    if findings.absent:
        names = ", ".join(map(escape, findings.absent))
        lines.append(f"Nothing is known of {names}: the scored images have no pixel of them, so no mean counts them.")
    lines.append(
        "It knows the classes above alone and gives one of them to every pixel. Expect less of images that differ from "
        "those that it was trained on, and do not use it where a wrong mask can hurt somebody."
    )
    return "## Limits\n\n" + "\n\n".join(lines)


def _data(findings: Findings) -> str:
    training = findings.last.training
    rows = [
        (use, f"{escape(record.name)} ({escape(record.split)})", str(record.num_images), escape(record.licence))
        for use, record in [*(("training", one) for one in training.datasets), ("validation", findings.val)]
    ]
    initial = training.initial_weights
    started = f"from {escape(initial.name)} ({escape(initial.licence)})" if initial else "from random weights"
    return (
        f"## Data\n\n{_table(('used for', 'set', 'images', 'licence'), rows)}\n\nTraining started {started}. No image "
        "of the validation set is among the training images: training checks it, by id and by file."
    )


def _making(findings: Findings) -> str:
    training, took = findings.last.training, findings.seconds
    command = f"{_shell(hide_homes(training.command))}\n\n" if training.command else ""
    commit = f"at commit `{training.commit}`" if training.commit else "at a commit that is not known"
    time = f" It took {duration(took)}." if took else ""
    where = ", ".join(f"{name} {value}" for name, value in findings.environment.items())
    return (
        f"## How it was made\n\n{command}{commit}, seed {training.seed}: {_recipe_in_short(findings)}.{time} "
        f"The scores above were computed with {escape(where)}. The whole recipe is in `recipe.toml` and in the "
        f"checkpoint.\n\nWeights: sha256 `{findings.last.sha256}`."
    )


def _recipe_in_short(findings: Findings) -> str:
    recipe = findings.recipe
    return (
        f"{findings.rows[-1]['epoch']:g} epochs, {recipe.batch_size} images a step, {recipe.optimizer}, learning rate "
        f"{recipe.lr:g}, weight decay {recipe.weight_decay:g}"
    )


def escape(text: str) -> str:
    """Take from a text, on one line, what Markdown or HTML would make of it."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\\`*\[\]|]|^[#+=~-]", r"\\\g<0>", line)


def _shell(*commands: str) -> str:
    """Give a block of commands, a line each, which nothing in them ends."""
    lines = "\n".join(" ".join(command.split()) for command in commands)
    fence = max(["``", *re.findall("`+", lines)], key=len) + "`"
    return f"{fence}sh\n{lines}\n{fence}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
