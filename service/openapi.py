"""Complete the OpenAPI document with what the framework cannot see: the formats of a mask, each with an example."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from model_zoo.labels import voc_palette
from service.masks import ENCODERS
from service.masks.encoder import LabelledMask
from service.problems import Problem
from service.routes.bodies import HfRequest
from service.routes.several import ListAnswer
from service.tensors import InferRequest

_REFERENCE = "#/components/schemas/{model}"
_BINARY = {"type": "string", "format": "binary"}
_MASK = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]], np.uint8)


def complete(app: FastAPI) -> dict[str, Any]:
    """Give an app's document."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        answers = [encoder.answer for encoder in ENCODERS.values() if encoder.answer is not None]
        models: list[type[BaseModel]] = [HfRequest, InferRequest, Problem, ListAnswer, *answers]
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
        document["components"]["schemas"].update(schemas["$defs"])
        document["paths"]["/segment"]["post"]["responses"]["200"]["content"] = _formats()
    assert app.openapi_schema is not None
    return app.openapi_schema


def example() -> LabelledMask:
    """Give a mask of twelve pixels, a dog in the middle."""
    return LabelledMask(
        mask=_MASK,
        model="voc",
        version="1",
        classes=("background", "dog"),
        palette=voc_palette(2),
        probability_sums=(7.6, 3.8),
        confidence=np.full_like(_MASK, 242),
    )


def _formats() -> dict[str, Any]:
    """Describe the answer by media type; where several formats share one, any of their schemas holds."""
    content: dict[str, Any] = {}
    for name, encoder in ENCODERS.items():
        if encoder.answer is None:
            content.setdefault(encoder.media_type, {"schema": _BINARY})
            continue
        entry = content.setdefault(encoder.media_type, {"schema": {"anyOf": []}, "examples": {}})
        entry["schema"]["anyOf"].append(_reference(encoder.answer))
        entry["examples"][name] = {"summary": f"format={name}", "value": json.loads(encoder.encode(example()))}
    content["application/json"]["schema"]["anyOf"].append(_reference(ListAnswer))
    return {**content, "multipart/mixed": {"schema": _BINARY}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
