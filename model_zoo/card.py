"""Say what a checkpoint's header holds: the spec, where the weights come from and how well they did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from model_zoo.spec import Frozen, ModelSpec, Name

SCHEMA_VERSION = 1
"""The newest header that this code reads."""

Dtype = Literal["float32", "float16"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Setting = bool | int | float | str | None | tuple[str | float, ...] | Mapping[str, bool | int | float | str]


class DatasetRecord(Frozen):
    """Name a set of images; ``list_sha256`` is over the sorted image ids, one a line.

    ``rules`` say by which options the targets were made, where the dataset has any.
    """

    name: str
    split: str
    num_images: int = Field(ge=0)
    list_sha256: Sha256
    licence: str = "unknown"
    rules: Mapping[str, str] = Field(default_factory=dict)


class InitialWeights(Frozen):
    """Name the weights that the training started from."""

    name: str
    sha256: Sha256
    licence: str = "unknown"


class Averaged(Frozen):
    """Name a checkpoint that is a part of a mean, and how its run was made."""

    name: str
    sha256: Sha256
    commit: str | None = None
    command: str | None = None


class Training(Frozen):
    """Say how the weights were made; ``recipe`` is the resolved configuration of the run.

    Weights that are the mean of several checkpoints name them in ``averaged``; the rest is what their runs share.
    """

    datasets: tuple[DatasetRecord, ...] = ()
    recipe: Mapping[str, Setting] = Field(default_factory=dict)
    seed: int | None = None
    commit: str | None = None
    command: str | None = None
    initial_weights: InitialWeights | None = None
    averaged: tuple[Averaged, ...] = ()


class Metric(Frozen):
    """Give one score; ``resolution`` says at what size the masks were compared."""

    name: str
    value: float
    dataset: str
    num_images: int = Field(ge=1)
    resolution: str


class SelfTest(Frozen):
    """Say what the network must answer to a generated image; ``selftest.py`` tells what is counted."""

    seed: int = Field(ge=0, le=1000)
    height: int = Field(ge=32, le=1024)
    width: int = Field(ge=32, le=1024)
    histogram: tuple[int, ...]


class Card(Frozen):
    """Say what a checkpoint is: its name, how to rebuild and use it, how it was made and how well it did."""

    name: Name
    version: Name = "1"
    description: str = ""
    spec: ModelSpec
    training: Training = Training()
    metrics: tuple[Metric, ...] = ()


class CheckpointHeader(Card):
    """Hold all that a checkpoint says of itself; the file's metadata key ``segserve`` is its JSON.

    ``dtype`` is how the weights lie in the file; a loaded network is always float32. ``sha256`` is over the data
    section, which is everything behind the header.
    """

    schema_version: Literal[1] = 1
    dtype: Dtype = "float32"
    self_test: SelfTest
    sha256: Sha256

    @model_validator(mode="after")
    def _fit_histogram(self) -> Self:
        if len(self.self_test.histogram) != self.spec.num_classes:
            raise ValueError(f"self-test counts {len(self.self_test.histogram)} classes, not {self.spec.num_classes}")
        return self
