import pytest
from pydantic import ValidationError

from model_zoo.spec import InputRule, ModelSpec, SizeRule

TWO = {"architecture": "unet", "classes": ("ground", "cell"), "palette": ((0, 0, 0), (255, 255, 255))}


def test_a_spec_survives_json() -> None:
    spec = ModelSpec(**TWO, arguments={"base_channels": 8, "padding": "valid"}, size=SizeRule(policy="native"))

    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_arguments_keep_their_types() -> None:
    spec = ModelSpec(**TWO, arguments={"flag": True, "count": 1, "rate": 1.0, "kind": "1"})

    arguments = ModelSpec.model_validate_json(spec.model_dump_json()).arguments

    assert [type(value) for value in arguments.values()] == [bool, int, float, str]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"palette": ((0, 0, 0),)}, "2 classes need as many colours, not 1"),
        ({"classes": ("cell", "cell")}, "class names must differ"),
        ({"classes": ()}, "at least 1 item"),
        ({"architecture": "../../etc"}, "should match pattern"),
        ({"palette": ((0, 0, 0), (256, 0, 0))}, "less than or equal to 255"),
        ({"code": "import os"}, "Extra inputs are not permitted"),
    ],
)
def test_a_spec_that_does_not_hold_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate({**TWO, **change})


def test_trap_33_aligned_corners_are_refused() -> None:
    with pytest.raises(ValidationError, match="align_corners\n  Input should be False"):
        SizeRule.model_validate({"align_corners": True})


def test_a_normalisation_needs_a_value_for_each_channel() -> None:
    with pytest.raises(ValidationError, match="mean and std need 1 values for grey"):
        InputRule(color_order="grey")


@pytest.mark.parametrize("std", [(1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1e300, 1.0)])
def test_a_std_that_cannot_divide_is_refused(std: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="std"):
        InputRule(std=std)


def test_a_mean_outside_the_colors_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        InputRule(mean=(1e300, 0.5, 0.5))
