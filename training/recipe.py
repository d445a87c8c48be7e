"""Say how a network is trained: one frozen, checked Recipe, from a TOML file and the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from model_zoo.card import Setting
from model_zoo.spec import Argument, Frozen, InputRule, ModelSpec, Name, SizeRule
from training.complaints import first_complaint
from training.datasets import LabelSpace, Reference
from training.errors import InvalidRecipe
from training.losses import LOSSES
from training.transforms import Augmentation

RECIPES = Path(__file__).parent / "recipes"
SUFFIX = ".toml"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Scale = Annotated[float, Field(gt=0, le=16)]
Count = Annotated[int, Field(ge=1)]

SMALLEST_CROP = 32

HOW_NOT_WHAT = frozenset({"workers", "cache", "check", "save_every", "report"})
"""The fields that change how a run goes but not what comes of it; a run may be resumed with others."""


class Recipe(Frozen):
    """Hold every choice of a training run; each field is also an option of ``segtrain fit``."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: Name = Field(description="name of the checkpoint")
    description: str = Field(default="", description="one sentence for the checkpoint's card")

    train: tuple[str, ...] = Field(min_length=1, description="datasets to learn from, as READER:LIST:PATH")
    train_weights: tuple[Weight, ...] = Field(
        default=(),
        description="how often each of them is drawn from, relative to the others; by their sizes if not said",
    )
    rare_share: Share = Field(
        default=0.0, description="share of the images below which a class is rare, and its images come more often"
    )
    train_share: float = Field(
        default=1.0, gt=0, le=1, description="share of each dataset to learn from; a smaller one is part of a larger"
    )
    order: Literal["shuffled", "sliding"] = Field(
        default="shuffled", description="of images; sliding moves the batch on by one image, as no training should"
    )
    val: str = Field(description="dataset to validate on, as READER:LIST:PATH")
    val_name: str | None = Field(default=None, description="what the card calls it, if not its folder and list")
    licences: Mapping[str, str] = Field(
        default_factory=dict, description="licence of each dataset, by its folder's name, and of encoder_weights"
    )

    architecture: str = Field(description="name in ARCHITECTURES")
    arguments: Mapping[str, Argument] = Field(default_factory=dict, description="arguments of the architecture")
    encoder_weights: str | None = Field(default=None, description="file of pretrained weights, or package:NAME")
    freeze_encoder: bool = Field(default=False, description="leave the encoder as it is, batch-norm statistics too")
    frozen_stages: int = Field(
        default=0, ge=0, le=5, description="how many of the encoder's five maps, the finest first, learn nothing"
    )
    freeze_norms: bool = Field(default=False, description="leave every batch norm as it is, its statistics too")
    head_from_classifier: bool = Field(
        default=False, description="make FCN's head of the fully connected layers in encoder_weights"
    )
    init_from: str | None = Field(default=None, description="checkpoint whose weights to begin with, where they fit")

    input: InputRule = Field(default=InputRule(), description="how pixels become numbers")
    size: SizeRule = Field(default=SizeRule(), description="at what size the network sees images")

    crop: int = Field(default=288, ge=0, le=4096, description="side of the squares to learn from; 0: whole images")
    class_share: float = Field(default=1.0, gt=0, le=1, description="the most of a crop that one class may fill")
    scale_min: Scale = Field(default=0.5, description="smallest random scale")
    scale_max: Scale = Field(default=2.0, description="largest random scale")
    flip: Share = Field(default=0.5, description="chance of a horizontal flip")
    jitter: Share = Field(default=0.3, description="strength of random brightness, contrast and saturation")

    brightness: Share | None = Field(default=None, description="its strength, if not jitter's")
    contrast: Share | None = Field(default=None, description="its strength, if not jitter's")
    saturation: Share | None = Field(default=None, description="its strength, if not jitter's")
    hue: float | None = Field(default=None, ge=0, le=0.5, description="strength of random hue; none if not said")

    paste: Share = Field(default=0.0, description="chance that what another image has of a class is pasted in")
    flip_vertical: Share = Field(default=0.0, description="chance of a vertical flip")
    rotate: Share = Field(default=0.0, description="chance of a rotation")
    rotate_degrees: float = Field(default=10.0, gt=0, le=180, description="its largest angle, either way")
    shift: Share = Field(default=0.0, description="chance of a shift")
    shift_pixels: int = Field(default=32, ge=1, le=1024, description="its largest length, along each side")
    elastic: Share = Field(default=0.0, description="chance of U-Net's elastic deformation")
    elastic_pixels: float = Field(default=10.0, gt=0, le=100, description="deviation of its displacements")
    grey: Share = Field(default=0.0, description="chance of losing all colour")
    blur: Share = Field(default=0.0, description="chance of a Gaussian blur")
    blur_sigma: float = Field(default=2.0, ge=0.1, le=5, description="its largest deviation, in pixels")
    motion_blur: Share = Field(default=0.0, description="chance of a blur along a line")
    motion_blur_pixels: int = Field(default=9, ge=3, le=99, description="its largest length")
    noise: Share = Field(default=0.0, description="chance of Gaussian noise")
    noise_sigma: float = Field(default=0.05, gt=0, le=1, description="its deviation; 1 is from black to white")
    jpeg: Share = Field(default=0.0, description="chance of JPEG's losses")
    jpeg_quality: int = Field(default=30, ge=1, le=95, description="its lowest quality; the highest is 95")

    loss: Mapping[str, Weight] = Field(
        default_factory=lambda: {"cross_entropy": 1.0}, description="losses and their weights in the sum"
    )
    pixel_share: float = Field(default=1.0, gt=0, le=1, description="chance of each pixel to count in the loss")
    auxiliary_weight: float = Field(default=0.4, ge=0, description="weight of the loss of auxiliary heads")

    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="adamw", description="sgd, adam or adamw")
    lr: Positive = Field(description="learning rate")
    encoder_lr: Positive | None = Field(default=None, description="learning rate of the encoder, if another")
    auxiliary_lr: Positive | None = Field(default=None, description="learning rate of auxiliary heads, if another")
    bias_lr_factor: Positive = Field(default=1.0, description="how much faster biases of convolutions learn")
    momentum: Share = Field(default=0.9, description="momentum of sgd")
    weight_decay: float = Field(default=0.0, ge=0, description="decay of weights")
    decay: Literal["weights", "all"] = Field(default="weights", description="decay weights, or biases and norms too")
    clip_norm: Positive | None = Field(default=None, description="the longest that the gradient may be")
    schedule: Literal["poly", "cosine", "one_cycle", "constant"] = Field(
        default="poly", description="how the rate falls"
    )
    power: Positive = Field(default=0.9, description="exponent of a poly schedule")
    lr_floor: Share = Field(default=0.0, description="share of the rate that is left at the end")
    warmup_steps: int = Field(default=0, ge=0, description="steps in which the rate rises")
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="average the weights over steps, over fewer at first; 0 is off"
    )

    epochs: Count | None = Field(default=None, description="how many epochs, each of as many visits as images")
    steps: Count | None = Field(default=None, description="how many steps to learn for, instead of epochs")
    batch_size: Count = Field(default=8, description="the most images a step, over all processes")
    accumulate: Count = Field(default=1, description="parts of a batch that go through the network one by one")
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of all random numbers")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the network's arithmetic")
    deterministic: bool = Field(default=False, description="the same bits every time on a GPU, too, if slower")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where the network learns")
    sync_norms: bool = Field(default=True, description="on several GPUs, batch norm over the images of all")
    compile: bool = Field(default=False, description="compile the network with torch.compile")
    workers: int = Field(default=1, ge=0, le=64, description="processes that prepare images; 0 is none")
    cache: bool = Field(default=True, description="keep all decoded images in memory")
    check: bool = Field(default=True, description="read every sample once before training, so that it fails early")
    validate_every: Count = Field(default=1, description="epochs between validations")
    save_every: Count = Field(default=200, description="steps between savings of what it takes to resume")
    report: bool = Field(default=True, description="write report.html and card.md at the end")
    dtype: Literal["float32", "float16"] = Field(default="float32", description="of the weights in the checkpoint")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} is above scale_max {self.scale_max}")
        if 0 < self.crop < SMALLEST_CROP:
            raise ValueError(f"crop {self.crop} px is neither 0 nor {SMALLEST_CROP} or more")
        if self.paste and not self.crop:
            raise ValueError(f"paste {self.paste} needs crops: whole images differ in size")
        if self.order == "sliding" and (self.rare_share or self.train_weights):
            raise ValueError("order sliding has neither rare_share nor train_weights")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("say either epochs or steps")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate {self.accumulate} is above batch_size {self.batch_size}")
        if self.lr_floor and self.schedule == "one_cycle":
            raise ValueError(f"lr_floor {self.lr_floor} has no meaning for schedule one_cycle")
        return self

    @model_validator(mode="after")
    def _fit_weights(self) -> Self:
        if self.init_from is not None and self.encoder_weights is not None:
            raise ValueError("init_from and encoder_weights exclude each other")
        if self.freeze_encoder and self.frozen_stages:
            raise ValueError("freeze_encoder and frozen_stages exclude each other")
        if self.freeze_encoder and self.encoder_weights is None and self.init_from is None:
            raise ValueError("freeze_encoder needs encoder_weights or init_from, or the encoder stays random")
        if self.frozen_stages and self.encoder_weights is None and self.init_from is None:
            raise ValueError(
                f"frozen_stages {self.frozen_stages} needs encoder_weights or init_from, or they stay random"
            )
        if self.head_from_classifier and self.encoder_weights is None:
            raise ValueError("head_from_classifier needs encoder_weights")
        if self.train_weights and len(self.train_weights) != len(self.train):
            raise ValueError(f"{len(self.train_weights)} train_weights do not fit {len(self.train)} datasets")
        return self

    @model_validator(mode="after")
    def _fit_losses(self) -> Self:
        for name in self.loss:
            if name not in LOSSES:
                raise ValueError(f"loss: unknown loss {name!r}, known are {', '.join(LOSSES)}")
        if not any(self.loss.values()):
            raise ValueError("loss: every weight is 0")
        return self

    @property
    def shown_val(self) -> str:
        """Name what is validated on, as a card does."""
        reference = Reference.parse(self.val)
        return self.val_name or f"{reference.name} {reference.split}"

    @property
    def augmentation(self) -> Augmentation:
        """Say how strongly images are varied."""
        return Augmentation(**{field.name: getattr(self, field.name) for field in fields(Augmentation)})

    def spec(self, labels: LabelSpace) -> ModelSpec:
        """Say what the network will be, for these labels.

        Raises:
            InvalidRecipe: a checkpoint could not hold it.
        """
        try:
            return ModelSpec(
                architecture=self.architecture,
                arguments=self.arguments,
                classes=labels.classes,
                palette=labels.palette,
                label_space=labels.name,
                input=self.input,
                size=self.size,
            )
        except ValidationError as error:
            raise InvalidRecipe(f"recipe {self.name}: {first_complaint(error)}") from error

    def settings(self) -> dict[str, Setting]:
        """Give the choices that a checkpoint records, but those that its spec and card have anyway."""
        elsewhere = {"name", "description", "licences", "architecture", "arguments", "input", "size", "seed"}
        return self.model_dump(exclude=elsewhere)

    def to_toml(self) -> str:
        """Write the recipe as a file that reads back as itself."""
        values = self.model_dump(mode="json", exclude_none=True)
        plain = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
        tables = [
            f"\n[{key}]\n" + "\n".join(f"{_toml(name)} = {_toml(entry)}" for name, entry in value.items())
            for key, value in values.items()
            if isinstance(value, dict) and value
        ]
        return "\n".join([*plain, *tables, ""])


def read_recipe(source: str, changes: Mapping[str, Any]) -> Recipe:
    """Read a recipe by the name of one that ships, or by its file, and change some of its fields.

    A changed table, such as ``size``, keeps the entries that the change does not name; but the ``arguments`` of
    another architecture than the recipe's own begin empty, and of ``epochs`` and ``steps`` the changed one counts.

    Raises:
        InvalidRecipe: there is no such recipe, or a field is unknown or has a value that it cannot have.
    """
    values = _read_toml(source)
    if changes.get("architecture", values.get("architecture")) != values.get("architecture"):
        values.pop("arguments", None)
    for field, other in (("steps", "epochs"), ("epochs", "steps")):
        if field in changes and other not in changes:
            values.pop(other, None)
    for field, change in changes.items():
        before = values.get(field)
        values[field] = {**before, **change} if isinstance(before, dict) and isinstance(change, dict) else change
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InvalidRecipe(f"recipe {source}: {first_complaint(error)}") from error


def _read_toml(source: str) -> dict[str, Any]:
    path = Path(source) if source.endswith(SUFFIX) else RECIPES / f"{source}{SUFFIX}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(shipped.stem for shipped in RECIPES.glob(f"*{SUFFIX}")))
        raise InvalidRecipe(f"no recipe {source!r}; give a {SUFFIX} file or one of {known}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRecipe(f"recipe {source} cannot be read: {error}") from error


def _toml(value: object) -> str:
    """Write a value as JSON that is also TOML, which has no surrogates and takes no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
