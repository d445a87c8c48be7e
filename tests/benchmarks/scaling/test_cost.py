from __future__ import annotations

import pytest

from benchmarks.scaling.cost import cost_model, fit, memory_model, terms
from benchmarks.serving.rows import REFERENCE
from tests.benchmarks.scaling.made_up import results


def test_a_fit_finds_the_law_that_the_points_follow() -> None:
    points = [({"1": 1.0, "MP": megapixels}, 3 + 2 * megapixels) for megapixels in (0.1, 1.0, 50.0)]

    found = fit(points, ["1", "MP"])

    assert found.coefficients == pytest.approx({"1": 3, "MP": 2})
    assert found.worst_error == pytest.approx(0, abs=1e-9)
    assert found.at({"1": 1.0, "MP": 10.0}) == pytest.approx(23)


def test_a_term_that_would_be_negative_is_left_out() -> None:
    points = [({"1": 1.0, "MP": megapixels}, 10 - megapixels) for megapixels in (1.0, 2.0, 3.0)]

    found = fit(points, ["1", "MP"])

    assert list(found.coefficients) == ["1"]
    assert 0 < found.worst_error < 0.3


def test_of_terms_that_are_always_equal_the_first_is_kept() -> None:
    points = [({"1": 1.0, "models": 1.0, "MP": megapixels}, 5 + megapixels) for megapixels in (1.0, 2.0)]

    found = fit(points, ["1", "models", "MP"])

    assert found.coefficients == pytest.approx({"1": 5, "MP": 1})


def test_the_models_are_fitted_to_what_was_found() -> None:
    kept = results()

    of_two = terms(megapixels=2, input_megapixels=0.512 * 0.384, num_classes=21)
    assert cost_model(kept, REFERENCE).at(of_two) == pytest.approx(40)
    assert memory_model(kept, REFERENCE).coefficients["models"] == pytest.approx(100)
