import pytest

from model_zoo.norms import group_norm


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (8, 1), (16, 1), (24, 1), (48, 3), (64, 4), (512, 32)])
def test_a_group_has_about_16_channels(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups
