import numpy as np
import pytest
from hypothesis import given
from pycocotools import mask as coco
from pycocotools.coco import COCO
from shapely.geometry import Point, shape  # type: ignore[import-untyped]  # it has no types

from service.masks.encoder import Mask
from service.masks.geojson import GeoJsonAnswer, encode_geojson
from service.masks.polygons import PolygonsAnswer, encode_polygons
from tests.service.masks.masks import MASKS, NAMES, SURENESS, labelled, present

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

RINGED = np.array([[1, 1, 1, 1, 0], [1, 0, 2, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 1]], np.uint8)


@given(MASKS)
def test_pycocotools_fills_the_polygons_with_the_very_pixels(mask: Mask) -> None:
    answer = PolygonsAnswer.model_validate_json(encode_polygons(labelled(mask)))

    assert [annotation.category_id for annotation in answer.annotations] == present(mask, drawn=True)
    for annotation in answer.annotations:
        parts = coco.frPyObjects(annotation.segmentation, *mask.shape)
        np.testing.assert_array_equal(coco.decode(coco.merge(parts)), mask == annotation.category_id)
        assert annotation.area == (mask == annotation.category_id).sum()
        assert annotation.bbox == tuple(coco.toBbox(coco.merge(parts)).astype(int))
        assert annotation.score == SURENESS


def test_an_answer_is_a_dataset_of_coco() -> None:
    dataset = COCO()

    dataset.dataset = PolygonsAnswer.model_validate_json(encode_polygons(labelled(RINGED))).model_dump()
    dataset.createIndex()

    assert [category["name"] for category in dataset.loadCats(dataset.getCatIds())] == list(NAMES)
    (annotation,) = dataset.loadAnns(dataset.getAnnIds(catIds=[1]))
    np.testing.assert_array_equal(dataset.annToMask(annotation), RINGED == 1)


@given(MASKS)
def test_shapely_reads_valid_areas_that_hold_the_very_pixels(mask: Mask) -> None:
    answer = GeoJsonAnswer.model_validate_json(encode_geojson(labelled(mask)))

    assert [feature.properties.class_id for feature in answer.features] == present(mask, drawn=True)
    for feature in answer.features:
        area = shape(feature.geometry.model_dump())
        assert area.area == feature.properties.area == (mask == feature.properties.class_id).sum()
        assert all(polygon.exterior.is_ccw for polygon in area.geoms)


def test_geojson_keeps_holes_open() -> None:
    (dog, _) = GeoJsonAnswer.model_validate_json(encode_geojson(labelled(RINGED))).features
    area = shape(dog.geometry.model_dump())

    rows, columns = np.indices(RINGED.shape)
    inside = [area.contains(Point(x + 0.5, y + 0.5)) for y, x in zip(rows.ravel(), columns.ravel(), strict=True)]
    np.testing.assert_array_equal(np.reshape(inside, RINGED.shape), RINGED == 1)
    assert [len(polygon.interiors) for polygon in area.geoms] == [1, 0]
    assert area.is_valid


def test_the_background_is_drawn_only_if_it_is_asked_for() -> None:
    mask = np.array([[0, 1]], np.uint8)

    without = PolygonsAnswer.model_validate_json(encode_polygons(labelled(mask)))
    asked = PolygonsAnswer.model_validate_json(encode_polygons(labelled(mask, asked=frozenset({0}))))

    assert [annotation.category_id for annotation in without.annotations] == [1]
    assert [annotation.category_id for annotation in asked.annotations] == [0]
