"""Write a mask as Roboflow's inference server answers for semantic segmentation.

The shape is that of ``SemanticSegmentationInferenceResponse`` in its ``core/entities/responses/inference.py``.
"""

from __future__ import annotations

from base64 import b64encode

from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask, Mask
from service.masks.png import grey_png
from service.masks.runs import runs_along


class RoboflowImage(BaseModel):
    """Hold the size of the image, in pixels."""

    width: int = Field(examples=[500])
    height: int = Field(examples=[375])


class RoboflowPredictions(BaseModel):
    """Hold the mask and what its values mean."""

    segmentation_mask: str = Field(description="grey PNG of class ids in base64", examples=["iVBORw0KGgo="])
    confidence_mask: str = Field(
        description="grey PNG in base64: 255 times the probability of the pixel's class", examples=["iVBORw0KGgo="]
    )
    class_map: dict[str, str] = Field(examples=[{"0": "background", "12": "dog"}])
    present_class_ids: list[int] = Field(examples=[[0, 12]])


class RoboflowAnswer(BaseModel):
    """Hold a whole mask; what this service does not tell here is null."""

    inference_id: str | None = None
    frame_id: int | None = None
    time: float | None = None
    image: RoboflowImage
    predictions: RoboflowPredictions
    visualization: str | None = None


def encode_roboflow(labelled: LabelledMask) -> bytes:
    """Write the mask, and how sure the network is of each of its pixels."""
    assert labelled.confidence is not None
    height, width = labelled.size
    predictions = RoboflowPredictions(
        segmentation_mask=_grey_png(labelled.mask),
        confidence_mask=_grey_png(labelled.confidence),
        class_map={str(class_id): name for class_id, name in enumerate(labelled.classes)},
        present_class_ids=[class_id for class_id, _ in runs_along(labelled.mask).by_class()],
    )
    answer = RoboflowAnswer(image=RoboflowImage(width=width, height=height), predictions=predictions)
    return answer.model_dump_json().encode()


def _grey_png(values: Mask) -> str:
    return b64encode(grey_png(values, values.shape[1])).decode("ascii")
