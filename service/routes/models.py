"""Tell which models are served and what each of them is."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from model_zoo.card import Metric
from model_zoo.spec import InputRule, ModelSpec, SizeRule
from service.dependencies import WithServices
from service.errors import InvalidRequest, UnknownModel
from service.problems import document_problems
from service.registry import Model, Registry, State

router = APIRouter(tags=["models"])


class ClassEntry(BaseModel):
    """Name the class of the pixels with value ``id``."""

    id: int = Field(examples=[12])
    name: str = Field(examples=["dog"])
    color: str = Field(examples=["#400080"])


class BareEntry(BaseModel):
    """Say how a model is; all that can be told of a file whose header could not be read."""

    name: str = Field(examples=["voc"])
    state: State
    problem: str | None = Field(default=None, description="why it failed")
    is_default: bool


class ModelEntry(BareEntry):
    """Say how a model is and what it was made for, as its checkpoint's header tells."""

    version: str = Field(examples=["1"])
    description: str
    architecture: str = Field(examples=["deeplabv3plus"])
    parameters: int = Field(examples=[4_300_000])
    device: str = Field(examples=["cpu"])
    dtype: str = Field(examples=["float32"])
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
    return ModelList(models=[_entry(model, registry) for model in registry.models.values()])


@router.get("/models/{name}", responses=document_problems(UnknownModel, InvalidRequest))
async def show_model(name: str, services: WithServices) -> ModelEntry | BareEntry:
    """Show one model."""
    return _entry(services.registry.find(name), services.registry)


def _entry(model: Model, registry: Registry) -> ModelEntry | BareEntry:
    name, inspection = model.candidate.name, model.candidate.inspection
    bare = BareEntry(name=name, state=model.state, problem=model.problem, is_default=name == registry.default)
    if inspection is None:
        return bare
    header = inspection.header
    return ModelEntry(
        **dict(bare),
        version=header.version,
        description=header.description,
        architecture=header.spec.architecture,
        parameters=inspection.num_parameters,
        device=str(registry.device.device),
        dtype="float32",
        label_space=header.spec.label_space,
        classes=_classes(header.spec),
        input=header.spec.input,
        size=header.spec.size,
        metrics=list(header.metrics),
    )


def _classes(spec: ModelSpec) -> list[ClassEntry]:
    pairs = zip(spec.classes, spec.palette, strict=True)
    return [
        ClassEntry(id=i, name=name, color="#{:02x}{:02x}{:02x}".format(*color)) for i, (name, color) in enumerate(pairs)
    ]
