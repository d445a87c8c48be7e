import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_zoo.architectures import build
from model_zoo.card import Card, Dtype, Metric, Training
from model_zoo.checkpoint import METADATA_KEY, BadCheckpoint, inspect, load, save, strip_prefixes, verify
from model_zoo.spec import ModelSpec

SPEC = ModelSpec(
    architecture="unet",
    arguments={"base_channels": 4},
    classes=("ground", "square", "circle"),
    palette=((0, 0, 0), (255, 0, 0), (0, 0, 255)),
)
METRIC = Metric(name="miou", value=0.5, dataset="shapes val", num_images=10, resolution="original")
CARD = Card(name="tiny", spec=SPEC, metrics=(METRIC,), training=Training(seed=3, recipe={"lr": 0.1}))


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(SPEC.architecture, SPEC.num_classes, SPEC.arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.safetensors"
    save(file, network(), CARD)
    return file


def rewrite(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the JSON before the weights, and leave the weights alone."""
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    entries = json.loads(blob[8 : 8 + length])
    change(entries)
    encoded = json.dumps(entries).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + blob[8 + length :])


def rewrite_header(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    def inner(entries: dict[str, object]) -> None:
        metadata = entries["__metadata__"]
        assert isinstance(metadata, dict)
        header = json.loads(metadata[METADATA_KEY])
        change(header)
        metadata[METADATA_KEY] = json.dumps(header)

    rewrite(path, inner)


def test_a_checkpoint_gives_back_network_and_header(path: Path) -> None:
    original = network().eval()
    images = torch.randn(1, 3, 40, 56)

    found = verify(path)

    assert found.header.spec == SPEC
    assert found.header.metrics == (METRIC,)
    assert found.header.training.recipe == {"lr": 0.1}
    with torch.inference_mode():
        torch.testing.assert_close(found.network(images).logits, original(images).logits, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_round_trip_is_byte_identical(tmp_path: Path, dtype: Dtype) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save(first, network(), CARD, dtype=dtype)

    again = load(first)
    save(second, again.network, CARD, dtype=dtype)

    assert first.read_bytes() == second.read_bytes()


def test_float16_halves_the_weights_and_keeps_the_statistics(tmp_path: Path, path: Path) -> None:
    half = tmp_path / "half.safetensors"

    save(half, network(), CARD, dtype="float16")

    assert half.stat().st_size < 0.65 * path.stat().st_size
    stored = safetensors.torch.load_file(half)
    assert {value.dtype for name, value in stored.items() if "running" in name} == {torch.float32}
    assert {value.dtype for value in verify(half).network.parameters()} == {torch.float32}


def test_a_loaded_network_is_in_eval_mode_and_owns_no_meta_tensor(path: Path) -> None:
    found = load(path).network

    assert not found.training
    assert not any(tensor.is_meta for tensor in (*found.parameters(), *found.buffers()))


def test_trap_56_inspection_reads_the_header_alone(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)

    inspection = inspect(path)

    assert inspection.header.name == "tiny"
    assert inspection.num_parameters == sum(weight.numel() for weight in network().parameters())
    assert inspection.size_bytes == path.stat().st_size


def test_trap_56_any_safetensors_reader_can_read_the_metadata(path: Path) -> None:
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()

    assert list(metadata) == [METADATA_KEY]
    assert json.loads(metadata[METADATA_KEY])["spec"]["classes"] == ["ground", "square", "circle"]


def test_trap_57_wrapper_prefixes_are_stripped() -> None:
    state = {"module._orig_mod.a.weight": torch.zeros(1), "b": torch.ones(1)}

    assert list(strip_prefixes(state)) == ["a.weight", "b"]


def test_a_flipped_byte_is_found(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[-100] ^= 4
    path.write_bytes(blob)

    with pytest.raises(BadCheckpoint, match="sha256"):
        load(path)


def test_a_network_that_answers_otherwise_fails_its_self_test(path: Path) -> None:
    def swap(header: dict[str, object]) -> None:
        test = header["self_test"]
        assert isinstance(test, dict)
        test["histogram"] = [sum(test["histogram"]), 0, 0] if test["histogram"][0] == 0 else [0, 0, 96 * 128]

    rewrite_header(path, swap)

    with pytest.raises(BadCheckpoint, match="self-test failed"):
        verify(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2 is newer than 1"),
        ({"spec": {**SPEC.model_dump(mode="json"), "architecture": "skynet"}}, "skynet"),
        ({"spec": {**SPEC.model_dump(mode="json"), "arguments": {"base_channels": 8}}}, "has shape"),
        ({"spec": {**SPEC.model_dump(mode="json"), "arguments": {"base_channels": 10**9}}}, "base_channels"),
        ({"spec": {**SPEC.model_dump(mode="json"), "arguments": {"import": "os"}}}, "import"),
        (
            {"spec": {**SPEC.model_dump(mode="json"), "arguments": {"norm": "none"}}},
            "unknown to the architecture|misses",
        ),
        ({"name": "../evil"}, "header field name"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"backdoor": 1}, "header field backdoor"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_name(path: Path, change: dict[str, object], message: str) -> None:
    rewrite_header(path, lambda header: header.update(change))

    with pytest.raises(BadCheckpoint, match=message) as caught:
        load(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_version_of_many_digits_is_refused(path: Path) -> None:
    def replace(entries: dict[str, object]) -> None:
        metadata = entries["__metadata__"]
        assert isinstance(metadata, dict)
        metadata[METADATA_KEY] = metadata[METADATA_KEY].replace('"schema_version":1', '"schema_version":' + "9" * 5000)

    rewrite(path, replace)

    with pytest.raises(BadCheckpoint, match="not JSON"):
        inspect(path)


@pytest.mark.parametrize("metadata", [{"segserve": 1}, {"other": 1}, [], "text"])
def test_trap_56_metadata_that_is_not_text_is_refused(path: Path, metadata: object) -> None:
    rewrite(path, lambda entries: entries.update({"__metadata__": metadata}))

    with pytest.raises(BadCheckpoint, match="metadata is not text"):
        load(path)


def test_a_header_in_another_encoding_is_refused(path: Path) -> None:
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    encoded = blob[8 : 8 + length].decode().encode("utf-16")
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + blob[8 + length :])

    with pytest.raises(BadCheckpoint, match="not JSON"):
        load(path)


@pytest.mark.parametrize(("is_weight", "message"), [(True, "is stored as I64"), (False, "is stored as F32")])
def test_weights_and_counters_that_changed_places_are_refused(path: Path, is_weight: bool, message: str) -> None:
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    name = next(name for name, value in tensors.items() if value.is_floating_point() == is_weight)
    tensors[name] = tensors[name].long() if is_weight else tensors[name].float()
    safetensors.torch.save_file(tensors, path, metadata)

    with pytest.raises(BadCheckpoint, match=f"{name} {message}"):
        load(path)


def test_a_missing_tensor_is_named(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    name = sorted(tensors)[0]
    del tensors[name]
    safetensors.torch.save_file(tensors, path, metadata)

    with pytest.raises(BadCheckpoint, match=f"misses {name}"):
        load(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [10**12, 10**12 + 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62] * 60_000, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-(10**4000), 10**4000]},
        ["F32"],
    ],
)
def test_a_tensor_entry_that_lies_is_refused_before_memory_is_taken(path: Path, entry: object) -> None:
    rewrite(path, lambda entries: entries.update({"aaa": entry}))

    with pytest.raises(BadCheckpoint, match="tensor") as caught:
        inspect(path)

    assert len(str(caught.value)) < len(str(path)) + 200


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 64,
        (2**40).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"nope",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        pickle.dumps(print),
    ],
)
def test_trap_55_what_is_no_checkpoint_is_refused_and_never_unpickled(tmp_path: Path, blob: bytes) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(blob)

    with pytest.raises(BadCheckpoint, match=r"not a safetensors file|not one of this project"):
        load(file)


def test_trap_55_a_huge_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.safetensors"
    with file.open("wb") as sparse:
        sparse.write((2**31).to_bytes(8, "little"))
        sparse.truncate(2**31 + 8)

    with pytest.raises(BadCheckpoint, match="header is 2147483648 bytes, at most"):
        inspect(file)


@pytest.mark.parametrize("read", [inspect, load, verify])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)

    with pytest.raises(BadCheckpoint, match=r"pipe\.safetensors: is no regular file; name a checkpoint file"):
        read(pipe)


@pytest.mark.parametrize("name", ["missing.safetensors", "."])
def test_a_path_that_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadCheckpoint, match=r"No such file|no regular file"):
        load(tmp_path / name)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused(path: Path, share: float) -> None:
    blob = path.read_bytes()
    cut = path.with_name("cut.safetensors")
    cut.write_bytes(blob[: int(share * (len(blob) - 1))])

    with pytest.raises(BadCheckpoint):
        load(cut)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_bit_is_refused_or_changes_no_weight(path: Path, data: st.DataObject) -> None:
    blob = bytearray(path.read_bytes())
    index = data.draw(st.integers(0, len(blob) - 1) | st.integers(0, 3000))
    blob[index] ^= 1 << data.draw(st.integers(0, 7))
    flipped = path.with_name("flipped.safetensors")
    flipped.write_bytes(blob)
    wanted = network().state_dict()

    try:
        found = load(flipped).network.state_dict()
    except BadCheckpoint:
        return
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = network()
    next(broken.parameters()).data[0] = float("nan")

    with pytest.raises(BadCheckpoint, match="not finite"):
        save(tmp_path / "x.safetensors", broken, CARD)

    assert list(tmp_path.iterdir()) == []


def test_words_that_could_not_be_read_back_are_refused_and_leave_the_file_that_is_there(path: Path) -> None:
    before = path.read_bytes()

    with pytest.raises(BadCheckpoint, match=r"no UTF-8 after .*Stra"):
        save(path, network(), CARD.model_copy(update={"description": "Stra\udcdfe"}))

    assert path.read_bytes() == before


def test_trap_56_tied_tensors_are_not_saved(tmp_path: Path) -> None:
    tied = network()
    norms = [module for module in tied.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    norms[0].weight = norms[1].weight

    with pytest.raises(BadCheckpoint, match="share their memory"):
        save(tmp_path / "x.safetensors", tied, CARD)

    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_spec_is_not_saved(tmp_path: Path) -> None:
    other = build("unet", 7, {"base_channels": 4})

    with pytest.raises(BadCheckpoint, match="has shape"):
        save(tmp_path / "x.safetensors", other, CARD)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(OSError, match="No space left"):
        save(path, network(1), CARD)

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
