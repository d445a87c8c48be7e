from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.spec import ModelSpec
from training.errors import InvalidRecipe
from training.initial import WarmStart, make_network, try_step, warm_start
from training.recipe import Recipe, read_recipe

PALETTE = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
NARROW: Mapping[str, int | str] = {"head_width": 512, "head_kernel": 1}


def spec_of(architecture: str, arguments: Mapping[str, int | str], classes: str = "abc") -> ModelSpec:
    return ModelSpec(
        architecture=architecture, arguments=arguments, classes=tuple(classes), palette=PALETTE[: len(classes)]
    )


def trained(spec: ModelSpec) -> nn.Module:
    """Give a network whose every weight has moved, those that begin at zero too."""
    torch.manual_seed(1)
    network = build(spec.architecture, spec.num_classes, spec.arguments).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith(("score", "fusions")):
                weight.add_(torch.randn_like(weight) * 0.05)
    return network


def save(network: nn.Module, spec: ModelSpec, folder: Path) -> Path:
    path = folder / f"{spec.architecture}.safetensors"
    checkpoint.save(path, network, Card(name="stage", spec=spec))
    return path


@pytest.mark.parametrize(("before", "after"), [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s")])
def test_row_3_the_next_stage_begins_with_the_scores_of_the_last(tmp_path: Path, before: str, after: str) -> None:
    first_spec, next_spec = spec_of(before, NARROW), spec_of(after, NARROW)
    first = trained(first_spec)
    following = build(after, 3, NARROW).eval()

    found = warm_start(following, save(first, first_spec, tmp_path), next_spec)

    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        last, step_0 = scores_of(first, images), scores_of(following, images)
        new_up = list(following.get_submodule("fusions").children())[-1].get_submodule("up")
        assert torch.equal(step_0, new_up(last))
        agreement = (first(images).logits.argmax(1) == following(images).logits.argmax(1)).float().mean()
    assert agreement > 0.97  # upsampled by 2 and by the rest, not at once
    assert all("fusions" in name or "upscore" in name for name in (*found.new, *found.dropped))


def scores_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Give what a network is about to upsample for the last time."""
    caught: list[torch.Tensor] = []
    (last,) = network.get_submodule("upscore").children()
    handle = last.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network(images)
    handle.remove()
    return caught[0]


def test_of_other_classes_all_but_the_scores_is_taken(tmp_path: Path) -> None:
    before, after = spec_of("unet", {"base_channels": 4}), spec_of("unet", {"base_channels": 4}, "ab")
    network = build("unet", 2, after.arguments)

    found = warm_start(network, save(build("unet", 3, before.arguments), before, tmp_path), after)

    assert found.new == found.dropped == ("score.bias", "score.weight")


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (spec_of("unet", {"base_channels": 8}), r"has \S+ of shape \[.*\], unet needs \["),
        (spec_of("lraspp", {}), r"\(unet\) has 0 of the \d+ tensors of lraspp, less than half"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, after: ModelSpec, complaint: str) -> None:
    before = spec_of("unet", {"base_channels": 4})
    path = save(build("unet", 3, before.arguments), before, tmp_path)

    with pytest.raises(InvalidRecipe, match=complaint):
        warm_start(build(after.architecture, 3, after.arguments), path, after)


@pytest.mark.parametrize("content", [None, b"rubbish"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "start.safetensors"
    if content:
        path.write_bytes(content)

    with pytest.raises(InvalidRecipe, match=r"init_from: .*start\.safetensors"):
        warm_start(nn.Identity(), path, spec_of("unet", {}))


def test_a_warm_start_is_told_in_a_line() -> None:
    assert str(WarmStart(("a", "b"), (), ("c", "d", "e", "f"))) == (
        "2 tensors taken, 0 begin anew, 4 left behind (c, d, e, ...)"
    )


def fcn(**changes: object) -> Recipe:
    return read_recipe("quick", {"architecture": "fcn32s", "arguments": NARROW, **changes})


def test_the_head_of_fcn_comes_from_the_classifier_of_the_encoders_file(tmp_path: Path) -> None:
    encoder = build("fcn32s", 3, NARROW).get_submodule("encoder.features").state_dict()
    head = {
        f"classifier.{layer}.{kind}": torch.randn(shape)
        for layer, width in ((0, 512), (3, 512))
        for kind, shape in (("weight", (512, width)), ("bias", (512,)))
    }
    torch.save({**{f"features.{name}": value for name, value in encoder.items()}, **head}, tmp_path / "vgg.pth")
    recipe = fcn(encoder_weights=str(tmp_path / "vgg.pth"), head_from_classifier=True)

    network = make_network(recipe, spec_of("fcn32s", NARROW))

    assert torch.equal(network.get_submodule("fc6").weight.flatten(1), head["classifier.0.weight"])  # type: ignore[operator]  # a tensor
    assert torch.equal(network.get_submodule("fc7").bias, head["classifier.3.bias"])  # type: ignore[arg-type]  # a tensor


def test_a_network_without_such_a_head_is_refused(tmp_path: Path) -> None:
    spec = spec_of("unet_encoder", {"encoder": "mobilenet_v2"})
    network = build("unet_encoder", 3, spec.arguments)
    torch.save(network.get_submodule("encoder.features").state_dict(), tmp_path / "encoder.pth")
    recipe = read_recipe(
        "quick",
        {
            "architecture": "unet_encoder",
            "encoder_weights": str(tmp_path / "encoder.pth"),
            "head_from_classifier": True,
        },
    )

    with pytest.raises(InvalidRecipe, match="unet_encoder has no head of that kind"):
        make_network(recipe, spec)


def test_more_frozen_stages_than_the_encoder_has_are_refused(tmp_path: Path) -> None:
    spec = spec_of("unet_encoder", {"encoder": "resnet18", "widths": "16-8-8"})
    start = save(trained(spec), spec, tmp_path)
    changes = {"architecture": "unet_encoder", "arguments": dict(spec.arguments), "init_from": str(start)}

    with pytest.raises(InvalidRecipe, match="frozen_stages 4 is above 3, the maps that the encoder has"):
        make_network(read_recipe("quick", {**changes, "frozen_stages": 4}), spec)


def test_stages_of_an_encoder_that_learns_nothing_anyway_are_refused(tmp_path: Path) -> None:
    spec = spec_of("unet_encoder", {"encoder": "resnet18", "base_channels": 4, "freeze_encoder": True})
    start = save(trained(spec), spec, tmp_path)
    changes = {"architecture": "unet_encoder", "arguments": dict(spec.arguments), "init_from": str(start)}

    with pytest.raises(InvalidRecipe, match="frozen_stages 2 and the argument freeze_encoder exclude each other"):
        make_network(read_recipe("quick", {**changes, "frozen_stages": 2}), spec)


def test_a_rate_for_an_encoder_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="encoder_lr: unet has no encoder"):
        make_network(read_recipe("quick", {"encoder_lr": 0.1}), spec_of("unet", {}))


@pytest.mark.parametrize(
    ("arguments", "num_images", "complaint"),
    [
        ({"in_channels": 1, "base_channels": 4}, 2, "unet cannot learn from 2 images of 32x32 px and 3 channels: "),
        ({"base_channels": 4, "norm": "batch"}, 1, None),
    ],
)
def test_what_a_network_cannot_learn_from_is_known_beforehand(
    arguments: Mapping[str, int | str], num_images: int, complaint: str | None
) -> None:
    spec = spec_of("unet", arguments)
    network = build("unet", 3, arguments)

    with pytest.raises(InvalidRecipe, match=complaint) if complaint else nullcontext():
        try_step(network, read_recipe("quick", {"crop": 32}), spec, num_images=num_images)


def test_trying_leaves_the_network_as_it_was() -> None:
    spec = spec_of("unet", {"base_channels": 4})
    network = build("unet", 3, spec.arguments)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    try_step(network, read_recipe("quick", {"crop": 32}), spec, num_images=2)

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
