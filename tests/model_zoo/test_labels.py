from model_zoo.labels import (
    COCO_CATEGORIES,
    COCO_CLASSES,
    COCO_CONTIGUOUS,
    COCO_PANOPTIC_CLASSES,
    COCO_PANOPTIC_CONTIGUOUS,
    COCO_TO_VOC,
    VOC_CLASSES,
    VOC_TO_COCO,
    voc_color,
    voc_palette,
)

SYNONYMS = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}


def test_trap_4_the_voc_palette_is_a_formula() -> None:
    assert voc_color(0) == (0, 0, 0)
    assert voc_color(1) == (128, 0, 0)
    assert voc_color(15) == (192, 128, 128)
    assert voc_color(20) == (0, 64, 128)
    assert voc_color(255) == (224, 224, 192)


def test_the_palette_has_256_different_colors() -> None:
    assert len(set(voc_palette())) == 256


def test_trap_4_the_voc_classes_are_in_the_official_order() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES[1] == "aeroplane"
    assert VOC_CLASSES[12] == "dog"
    assert VOC_CLASSES[15] == "person"
    assert list(VOC_CLASSES[1:]) == sorted(VOC_CLASSES[1:])


def test_coco_has_80_categories_with_ids_up_to_90() -> None:
    assert len(COCO_CATEGORIES) == 80
    assert max(COCO_CATEGORIES) == 90
    assert sorted(COCO_CONTIGUOUS.values()) == list(range(1, 81))
    assert COCO_CLASSES[COCO_CONTIGUOUS[90]] == "toothbrush"


def test_trap_7_coco_panoptic_has_133_categories_with_ids_up_to_200() -> None:
    assert max(COCO_PANOPTIC_CONTIGUOUS) == 200
    assert sorted(COCO_PANOPTIC_CONTIGUOUS.values()) == list(range(133))
    assert [COCO_PANOPTIC_CLASSES[COCO_PANOPTIC_CONTIGUOUS[category]] for category in (1, 90, 92, 200)] == [
        "person", "toothbrush", "banner", "rug-merged",
    ]  # fmt: skip


def test_every_voc_class_is_the_coco_category_of_the_same_name() -> None:
    names = [COCO_CATEGORIES[category] for category in VOC_TO_COCO[1:]]

    assert [SYNONYMS.get(name, name) for name in names] == list(VOC_CLASSES[1:])
    assert {COCO_TO_VOC[category] for category in VOC_TO_COCO[1:]} == set(range(1, 21))
