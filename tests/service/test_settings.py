from pathlib import Path

import pytest

from service.settings import (
    SHIPPED_CHECKPOINTS,
    SHIPPED_DEFAULT,
    BadSetting,
    Settings,
    option_name,
    variable_name,
)


def test_defaults_listen_on_this_machine_only() -> None:
    settings = Settings.read({}, {})

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_batch_delay == 0


def test_a_variable_sets_its_field() -> None:
    settings = Settings.read({"SEGSERVE_PORT": "9000", "SEGSERVE_CHECKPOINTS": "/models", "HOME": "/"}, {})

    assert settings.port == 9000
    assert settings.checkpoints == Path("/models")


def test_an_option_goes_before_its_variable() -> None:
    assert Settings.read({"SEGSERVE_PORT": "9000"}, {"port": "9001"}).port == 9001


def test_an_empty_variable_is_as_none() -> None:
    assert Settings.read({"SEGSERVE_DEFAULT_MODEL": ""}, {}).default_model is None


@pytest.mark.parametrize(
    ("checkpoints", "default"),
    [
        (SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT),
        (SHIPPED_CHECKPOINTS.parent / "x" / ".." / SHIPPED_CHECKPOINTS.name, SHIPPED_DEFAULT),
        (SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors", None),
        (Path("/models"), None),
    ],
)
def test_only_the_folder_that_ships_has_a_default_of_its_own(checkpoints: Path, default: str | None) -> None:
    assert Settings(checkpoints=checkpoints).shipped_default == default


def test_an_unknown_variable_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(BadSetting, match=r"unknown setting SEGSERVE_PROT; did you mean SEGSERVE_PORT\?"):
        Settings.read({"SEGSERVE_PROT": "1"}, {})


def test_an_unknown_variable_that_is_like_no_other_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"^unknown setting SEGSERVE_XYZZY$"):
        Settings.read({"SEGSERVE_XYZZY": "1"}, {})


@pytest.mark.parametrize(
    ("environment", "options", "named"),
    [
        ({"SEGSERVE_PORT": "http"}, {}, "SEGSERVE_PORT=http"),
        ({"SEGSERVE_PORT": "70000"}, {}, "SEGSERVE_PORT=70000"),
        ({"SEGSERVE_MAX_IMAGE_PIXELS": "100000000"}, {}, "SEGSERVE_MAX_IMAGE_PIXELS=100000000"),
        ({"SEGSERVE_DEVICE": "tpu"}, {}, "SEGSERVE_DEVICE=tpu"),
        ({}, {"max_batch_size": "0"}, "--max-batch-size=0"),
    ],
)
def test_a_bad_value_is_refused_by_name(environment: dict[str, str], options: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=f"bad setting {named}: "):
        Settings.read(environment, options)


def test_every_field_has_a_variable_an_option_and_a_description() -> None:
    for field, about in Settings.model_fields.items():
        assert variable_name(field).startswith("SEGSERVE_")
        assert option_name(field).startswith("--")
        assert about.description
