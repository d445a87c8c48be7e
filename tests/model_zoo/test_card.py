import pytest
from pydantic import ValidationError

from model_zoo.card import Metric

SCORE = {"name": "mIoU", "value": 0.655, "dataset": "voc seg11valid", "num_images": 736, "resolution": "original"}


@pytest.mark.parametrize("word", ["dataset", "num_images", "resolution"])
def test_trap_6_a_score_without_the_exam_it_is_of_is_refused(word: str) -> None:
    with pytest.raises(ValidationError, match=f"{word}\n  Field required"):
        Metric.model_validate({key: value for key, value in SCORE.items() if key != word})


def test_trap_6_the_same_score_of_two_exams_is_not_the_same() -> None:
    ours = Metric.model_validate(SCORE)
    theirs = Metric.model_validate({**SCORE, "dataset": "voc val", "num_images": 1449})

    assert ours != theirs
