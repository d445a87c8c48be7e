import json
from base64 import b64decode
from io import BytesIO

import numpy as np
from huggingface_hub import ImageSegmentationOutputElement
from hypothesis import given
from PIL import Image

from model_zoo.labels import voc_palette
from service.masks.color import encode_color
from service.masks.counts import CountsAnswer, encode_counts
from service.masks.encoder import Mask
from service.masks.hf import encode_hf
from service.masks.npz import encode_npz
from service.masks.overlay import encode_overlay
from service.masks.roboflow import RoboflowAnswer, encode_roboflow
from tests.service.masks.masks import MASKS, NAMES, NUM_CLASSES, SURENESS, labelled, present


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))


@given(MASKS)
def test_hugging_face_reads_a_grey_picture_of_each_class(mask: Mask) -> None:
    elements = ImageSegmentationOutputElement.parse_obj_as_list(json.loads(encode_hf(labelled(mask))))

    assert [(element.label, element.score) for element in elements] == [
        (NAMES[label], SURENESS) for label in present(mask)
    ]
    for label, element in zip(present(mask), elements, strict=True):
        picture = opened(b64decode(element.mask))
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), (mask == label) * 255)


@given(MASKS)
def test_roboflows_answer_holds_ids_and_confidence_as_grey_pictures(mask: Mask) -> None:
    confidence = (np.arange(mask.size) % 256).astype(np.uint8).reshape(mask.shape)

    answer = RoboflowAnswer.model_validate_json(encode_roboflow(labelled(mask, confidence=confidence)))

    np.testing.assert_array_equal(np.asarray(opened(b64decode(answer.predictions.segmentation_mask))), mask)
    np.testing.assert_array_equal(np.asarray(opened(b64decode(answer.predictions.confidence_mask))), confidence)
    assert (answer.image.height, answer.image.width) == mask.shape
    assert answer.predictions.present_class_ids == present(mask)
    assert answer.predictions.class_map == {str(i): name for i, name in enumerate(NAMES)}


@given(MASKS)
def test_counts_are_those_of_the_mask(mask: Mask) -> None:
    answer = CountsAnswer.model_validate_json(encode_counts(labelled(mask)))

    assert {count.class_id: count.pixels for count in answer.counts} == {
        label: int((mask == label).sum()) for label in present(mask)
    }
    assert all(count.probability == SURENESS for count in answer.counts)
    assert sum(count.share for count in answer.counts) <= 1 + 1e-5


@given(MASKS)
def test_colours_stand_for_classes(mask: Mask) -> None:
    picture = opened(encode_color(labelled(mask)))

    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), np.array(voc_palette(), np.uint8)[mask])


def test_an_overlay_shows_the_image_where_nothing_is() -> None:
    mask = np.repeat(np.array([[0, 1, 255]], np.uint8), 16, axis=1).repeat(16, axis=0)
    image = Image.new("RGB", mask.shape[::-1], (120, 120, 120))

    picture = opened(encode_overlay(labelled(mask, image=image)))

    assert (picture.format, picture.size) == ("JPEG", image.size)
    pixels = np.asarray(picture)[8, [8, 24, 40]].astype(int)
    np.testing.assert_allclose(pixels, [[120] * 3, [125, 48, 48], [120] * 3], atol=12)


def test_an_archive_opens_without_pickles() -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    probabilities = np.random.default_rng(0).random((NUM_CLASSES, 2, 2)).astype(np.float16)

    with np.load(BytesIO(encode_npz(labelled(mask, probabilities=probabilities))), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["probabilities"], probabilities)
        np.testing.assert_array_equal(archive["mask"], mask)
        assert archive["classes"].tolist() == list(NAMES)
