import math
from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from training.datasets import LabelSpace
from training.errors import InvalidRecipe
from training.recipe import RECIPES, Recipe, read_recipe
from training.transforms import Augmentation


def has_floats(field: FieldInfo) -> bool:
    """Say whether a field holds one number that need not be whole."""
    kinds = (field.annotation, *get_args(field.annotation))
    is_table = get_origin(field.annotation) in (tuple, Mapping)
    return not is_table and any(kind is float or float in get_args(kind) for kind in kinds)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_reads_back_as_itself(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path.stem, {})
    copy = tmp_path / "copy.toml"

    copy.write_text(recipe.to_toml())

    assert read_recipe(str(copy), {}) == recipe


def test_quotes_and_line_ends_survive_the_way_through_a_file(tmp_path: Path) -> None:
    recipe = read_recipe("quick", {"description": 'the "first"\nrun \\ of Jürgen', "licences": {"a b": "x"}})
    copy = tmp_path / "copy.toml"

    copy.write_text(recipe.to_toml(), encoding="utf-8")

    assert read_recipe(str(copy), {}) == recipe


@given(st.text(), st.dictionaries(st.text(), st.text()))
@example("\x7f \r\n \x00 \N{GRINNING FACE}", {})
def test_any_text_survives_the_way_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, licences: dict[str, str]
) -> None:
    recipe = read_recipe("quick", {"description": text, "licences": licences})
    copy = tmp_path_factory.mktemp("recipe") / "copy.toml"

    copy.write_text(recipe.to_toml(), encoding="utf-8")

    assert read_recipe(str(copy), {}) == recipe


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("field", [name for name, field in Recipe.model_fields.items() if has_floats(field)])
def test_a_number_that_is_not_finite_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidRecipe, match=rf"{field} = -?(inf|nan): .*(finite|greater|less)"):
        read_recipe("quick", {field: value})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"arguments": {"drop_rate": math.inf}}, r"arguments\.drop_rate.* = inf: .*finite"),
        ({"loss": {"cross_entropy": math.inf}}, r"loss\.cross_entropy = inf: "),
        ({"input": {"std": [math.nan, 1, 1]}}, r"input\.std\.0 = nan: "),
        ({"train_weights": [math.nan]}, r"train_weights\.0 = nan: "),
    ],
)
def test_a_number_in_a_table_that_is_not_finite_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidRecipe, match=complaint):
        read_recipe("quick", changes)


def test_a_change_replaces_a_field_and_adds_to_a_table() -> None:
    recipe = read_recipe("quick", {"epochs": "3", "arguments": {"base_channels": 16}})

    assert recipe.epochs == 3
    assert recipe.arguments == {"base_channels": 16, "padding": "same", "norm": "batch"}


def test_of_epochs_and_steps_the_changed_one_counts() -> None:
    recipe = read_recipe("quick", {"steps": 50})

    assert (recipe.steps, recipe.epochs) == (50, None)


def test_another_architecture_begins_without_the_arguments_of_the_first() -> None:
    recipe = read_recipe("quick", {"architecture": "fcn8s", "arguments": {"padding": "same"}})

    assert recipe.arguments == {"padding": "same"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"epochs": "many"}, r"recipe quick: epochs = 'many': .*integer"),
        ({"lr": 0}, "lr = 0: "),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"train": []}, "train"),
        ({"optimizer": "lion"}, "optimizer = 'lion'"),
        ({"crop": 16}, "crop 16 px is neither 0 nor 32 or more"),
        ({"epochs": 3, "steps": 9}, "either epochs or steps"),
        ({"accumulate": 99}, "accumulate 99 is above batch_size 16"),
        ({"loss": {"hinge": 1.0}}, "unknown loss 'hinge', known are .*cross_entropy"),
        ({"loss": {"cross_entropy": 0}}, "every weight is 0"),
        ({"train_weights": [1, 2]}, "2 train_weights do not fit 1 datasets"),
        ({"rare_share": 0.1, "order": "sliding"}, "order sliding has neither rare_share nor train_weights"),
        ({"rare_share": 2}, "rare_share = 2: "),
        ({"paste": 0.5, "crop": 0}, "paste 0.5 needs crops: whole images differ in size"),
        ({"init_from": "a", "encoder_weights": "b"}, "exclude each other"),
        ({"head_from_classifier": True}, "head_from_classifier needs encoder_weights"),
        ({"size": {"side": 3}}, r"size\.side = 3"),
        ({"input": {"mean": [0.5]}}, "mean and std need 3 values"),
        ({"scale_min": 3.0}, r"scale_min 3\.0 is above scale_max 1\.25"),
        ({"scale_max": 1e9}, r"scale_max = 1000000000\.0: .*less than or equal to 16"),
        ({"schedule": "one_cycle", "lr_floor": 0.1}, "lr_floor 0.1 has no meaning for schedule one_cycle"),
        ({"blur": 1.5}, r"blur = 1\.5: "),
        ({"rotate_degrees": 200}, "rotate_degrees = 200: "),
        ({"shift_pixels": 0}, "shift_pixels = 0: "),
        ({"motion_blur_pixels": 2}, "motion_blur_pixels = 2: "),
        ({"jpeg_quality": 96}, "jpeg_quality = 96: "),
        ({"noise_sigma": 0}, "noise_sigma = 0: "),
        ({"elastic_pixels": "nan"}, "elastic_pixels = 'nan': "),
        ({"freeze_encoder": True}, "freeze_encoder needs encoder_weights"),
        ({"frozen_stages": 2}, "frozen_stages 2 needs encoder_weights"),
        (
            {"frozen_stages": 2, "freeze_encoder": True, "init_from": "a"},
            "freeze_encoder and frozen_stages exclude each",
        ),
        ({"frozen_stages": 6}, "frozen_stages = 6: .*less than or equal to 5"),
    ],
)
def test_a_wrong_field_is_refused_in_one_line_that_names_it(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidRecipe, match=complaint) as caught:
        read_recipe("quick", changes)

    assert "\n" not in str(caught.value)


def test_a_spec_that_cannot_be_made_is_refused_in_one_line() -> None:
    recipe = read_recipe("quick", {"architecture": "my net"})

    with pytest.raises(InvalidRecipe, match=r"recipe quick-shapes: architecture = 'my net': ") as caught:
        recipe.spec(LabelSpace("toy", ("sky", "bird"), ((0, 0, 0), (9, 9, 9))))

    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text('name = "short"')

    with pytest.raises(InvalidRecipe, match="field 'train' is missing"):
        read_recipe(str(path), {})


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRecipe, match=r"no recipe 'slow'.*default, .*quick"):
        read_recipe("slow", {})


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)

    with pytest.raises(InvalidRecipe, match=r"broken\.toml cannot be read"):
        read_recipe(str(path), {})


@pytest.mark.parametrize("name", ["default", "quick"])
def test_the_recipe_and_the_augmentation_agree_on_what_is_off(name: str) -> None:
    recipe = read_recipe(name, {})

    known = Augmentation(recipe.crop, recipe.scale_min, recipe.scale_max, recipe.flip, recipe.jitter)

    assert recipe.augmentation == known
