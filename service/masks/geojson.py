"""Write a mask as GeoJSON (RFC 7946), one feature a class, in pixels: x to the right, y downwards."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask
from service.masks.outlines import Ring, rings_of
from service.masks.polygons import areas_of
from service.masks.runs import box_along, runs_along

Position = tuple[int, int]


class Geometry(BaseModel):
    """Hold the connected areas of a class: of each the outline, and then its holes, each closed."""

    type: Literal["MultiPolygon"] = "MultiPolygon"
    coordinates: list[list[list[Position]]] = Field(
        examples=[[[[[104, 58], [104, 328], [364, 328], [364, 58], [104, 58]]]]]
    )


class Properties(BaseModel):
    """Describe a class."""

    class_id: int = Field(examples=[12])
    label: str = Field(examples=["dog"])
    area: int = Field(description="number of pixels", examples=[40213])
    probability: float = Field(description="mean softmax probability over the pixels", examples=[0.93])


class Feature(BaseModel):
    """Hold the pixels of one class."""

    type: Literal["Feature"] = "Feature"
    properties: Properties
    geometry: Geometry


class GeoJsonAnswer(BaseModel):
    """Hold one feature for every class that is drawn."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Feature]


def encode_geojson(labelled: LabelledMask) -> bytes:
    """Write the features of a mask, by class id."""
    features = []
    for class_id, runs in runs_along(labelled.mask).by_class():
        if labelled.is_drawn(class_id):
            areas = areas_of(labelled, class_id, box_along(runs))
            properties = Properties(
                class_id=class_id,
                label=labelled.classes[class_id],
                area=runs.area,
                probability=labelled.probability(class_id, runs.area),
            )
            polygons = [[_closed(ring) for ring in rings_of(area)] for area in areas]
            features.append(Feature(properties=properties, geometry=Geometry(coordinates=polygons)))
    return GeoJsonAnswer(features=features).model_dump_json().encode()


def _closed(ring: Ring) -> list[Position]:
    """Close a ring. Outer ones go the way of RFC 7946: counterclockwise, were y drawn upwards."""
    return [(x, y) for x, y in np.concatenate((ring, ring[:1])).tolist()]
