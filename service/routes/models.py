"""Tell which models are served and what each of them is."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from model_zoo.card import Metric
from model_zoo.checkpoint import Inspection
from model_zoo.spec import InputRule, SizeRule
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


class ModelDetails(BaseModel):
    """Say what a model was made for; all of it comes from the checkpoint's header."""

    version: str = Field(examples=["1"])
    description: str
    architecture: str = Field(examples=["deeplabv3plus"])
    parameters: int = Field(examples=[4_300_000])
    label_space: str = Field(examples=["voc"])
    classes: list[ClassEntry]
    input: InputRule
    size: SizeRule
    metrics: list[Metric]


class ModelEntry(BaseModel):
    """Say how a served model is; ``details`` is absent where the file's header could not be read."""

    name: str = Field(examples=["voc"])
    state: State
    problem: str | None = Field(default=None, description="why it failed")
    is_default: bool
    device: str = Field(examples=["cpu"])
    dtype: str = Field(examples=["float32"])
    details: ModelDetails | None


class ModelList(BaseModel):
    """List the served models."""

    models: list[ModelEntry]


@router.get("/models")
async def list_models(services: WithServices) -> ModelList:
    """List the served models."""
    registry = services.registry
    return ModelList(models=[_entry(model, registry) for model in registry.models.values()])


@router.get("/models/{name}", responses=document_problems(UnknownModel, InvalidRequest))
async def show_model(name: str, services: WithServices) -> ModelEntry:
    """Show one model."""
    return _entry(services.registry.find(name), services.registry)


def _entry(model: Model, registry: Registry) -> ModelEntry:
    name, inspection = model.candidate.name, model.candidate.inspection
    return ModelEntry(
        name=name,
        state=model.state,
        problem=model.problem,
        is_default=name == registry.default,
        device=str(registry.device.device),
        dtype="float32",
        details=None if inspection is None else _details(inspection),
    )


def _details(inspection: Inspection) -> ModelDetails:
    header = inspection.header
    spec = header.spec
    return ModelDetails(
        version=header.version,
        description=header.description,
        architecture=spec.architecture,
        parameters=inspection.num_parameters,
        label_space=spec.label_space,
        classes=[
            ClassEntry(id=i, name=name, color="#{:02x}{:02x}{:02x}".format(*color))
            for i, (name, color) in enumerate(zip(spec.classes, spec.palette, strict=True))
        ],
        input=spec.input,
        size=spec.size,
        metrics=list(header.metrics),
    )
