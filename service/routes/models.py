"""Tell which models are served and what each of them is."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from model_zoo.card import Metric
from model_zoo.spec import InputRule, ModelSpec, SizeRule
from service.dependencies import WithServices
from service.errors import InvalidRequest, UnknownModel
from service.models import Model, State
from service.problems import document_problems
from service.registry import Registry

router = APIRouter(tags=["models"])


class ClassEntry(BaseModel):
    """Name the class of the pixels with value ``id``."""

    id: int = Field(examples=[12])
    name: str = Field(examples=["dog"])
    color: str = Field(examples=["#400080"])


class Memory(BaseModel):
    """Say what a model holds of each device: its weights, and beside them the most during a pass, as measured."""

    weights_bytes: int
    peak_bytes: int


class BareEntry(BaseModel):
    """Say how a model is; all that can be told of a file whose header could not be read."""

    name: str = Field(examples=["voc"])
    state: State
    problem: str | None = Field(default=None, description="why it could not be loaded")
    rejected: str | None = Field(default=None, description="why a newer file did not take its place")
    is_default: bool


class ModelEntry(BareEntry):
    """Say how a model is and what it was made for, as its checkpoint's header tells."""

    version: str = Field(examples=["1"])
    description: str
    architecture: str = Field(examples=["deeplabv3plus"])
    parameters: int = Field(examples=[4_300_000])
    devices: list[str] = Field(description="where it is in memory", examples=[["cuda:0", "cuda:1"]])
    runtime: str | None = Field(description="the way it is run, where it is in memory", examples=["torch"])
    tuning: str | None = Field(default=None, description="what segserve tune has found, or why it is not used")
    dtype: str | None = Field(description="what it computes in, where it is in memory", examples=["float32"])
    dtype_note: str | None = Field(default=None, description="why this is not what was asked for")
    memory: Memory | None = Field(default=None, description="as measured when it was last loaded")
    batch_sizes: dict[str, int] = Field(description="images of a batch, by height and width of the network input")
    idle_seconds: float | None = Field(description="time since it was last used, where it is in memory")
    num_loads: int = Field(description="how often it was brought into memory")
    pinned: bool
    label_space: str = Field(examples=["voc"])
    classes: list[ClassEntry]
    input: InputRule
    size: SizeRule
    metrics: list[Metric]


class ModelList(BaseModel):
    """List the served models."""

    models: list[ModelEntry | BareEntry]


@router.get("/models")
async def list_models(services: WithServices) -> ModelList:
    """List the served models."""
    registry = services.registry
    return ModelList(models=[describe(model, registry) for model in registry.models.values()])


@router.get("/models/{name}", responses=document_problems(UnknownModel, InvalidRequest))
async def show_model(name: str, services: WithServices) -> ModelEntry | BareEntry:
    """Show one model."""
    return describe(services.registry.find(name), services.registry)


def describe(model: Model, registry: Registry) -> ModelEntry | BareEntry:
    """Tell what is known of a model."""
    bare = BareEntry(
        name=model.name,
        state=model.state,
        problem=model.problem,
        rejected=model.rejected,
        is_default=model is registry.default,
    )
    inspection = model.candidate.inspection
    if inspection is None:
        return bare
    header = inspection.header
    return ModelEntry(
        **dict(bare),
        **_describe_residence(model),
        version=header.version,
        description=header.description,
        architecture=header.spec.architecture,
        parameters=inspection.num_parameters,
        num_loads=model.num_loads,
        pinned=model.is_pinned,
        label_space=header.spec.label_space,
        classes=_classes(header.spec),
        input=header.spec.input,
        size=header.spec.size,
        metrics=list(header.metrics),
    )


def _describe_residence(model: Model) -> dict[str, Any]:
    """Tell how a model is in memory, or was when it was there last."""
    segmenter, footprint = model.segmenter, model.footprint
    replicas = () if segmenter is None else segmenter.batcher.replicas
    return {
        "idle_seconds": None if segmenter is None else round(time.monotonic() - segmenter.last_used, 1),
        "devices": [replica.device.name for replica in replicas],
        "runtime": replicas[0].runtime_name if replicas else None,
        "tuning": None if segmenter is None else segmenter.tuning_note,
        "dtype": replicas[0].runtime.precision if replicas else None,
        "dtype_note": replicas[0].runtime.precision_note if replicas else None,
        "memory": footprint and Memory(weights_bytes=footprint.weights_bytes, peak_bytes=footprint.peak_bytes),
        "batch_sizes": {
            f"{height}x{width}": replicas[0].limits.of((channels, height, width))
            for channels, height, width in (
                warm_shape for warm in model.warm_ups[:1] for warm_shape in warm.batch_sizes
            )
            if replicas
        },
    }


def _classes(spec: ModelSpec) -> list[ClassEntry]:
    pairs = zip(spec.classes, spec.palette, strict=True)
    return [
        ClassEntry(id=i, name=name, color="#{:02x}{:02x}{:02x}".format(*color)) for i, (name, color) in enumerate(pairs)
    ]
