import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.__main__ import main
from tests.service.fakes import encode, noisy_image


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(noisy_image((90, 70))))
    return path


def test_row_31_predict_writes_mask_overlay_and_array(checkpoints: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"

    code = main(["predict", str(photo), "--model", str(checkpoints / "tiny.safetensors"), "--out", str(out), "--npy"])

    assert code == 0
    with Image.open(out / "photo_mask.png") as indexed, Image.open(out / "photo_overlay.png") as overlay:
        mask = np.asarray(indexed)
        assert (indexed.mode, (indexed.getpalette() or [])[3:6]) == ("P", [128, 0, 0])  # VOC's colour of class 1
        assert (overlay.mode, overlay.size) == ("RGB", (90, 70))
    assert mask.shape == (70, 90)
    np.testing.assert_array_equal(np.load(out / "photo_mask.npy"), mask)


def test_predict_takes_the_default_among_the_models_that_ship(photo: Path, tmp_path: Path) -> None:
    code = main(["predict", str(photo), "--out", str(tmp_path)])

    assert code == 0
    assert (tmp_path / "photo_mask.png").is_file()


def test_predict_goes_on_after_a_bad_image_and_tells_of_it(
    checkpoints: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"rubbish")
    images = [str(tmp_path / name) for name in ("bad.jpg", "missing.jpg", "photo.png")]

    code = main(["predict", *images, "--model", str(checkpoints), "--out", str(tmp_path / "out")])

    assert code == 1
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["photo_mask.png", "photo_overlay.png"]
    bad, missing = capsys.readouterr().err.splitlines()
    assert bad.startswith(f"segserve: {images[0]}: the 7 bytes are not an image")
    assert missing == f"segserve: {images[1]}: No such file or directory"
    assert photo.exists()


def test_predict_refuses_images_that_would_overwrite_each_other(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(tmp_path / name) for name in ("a/cat.jpg", "b/dog.jpg", "b/cat.png")]

    code = main(["predict", *images, "--model", str(checkpoints), "--out", str(tmp_path / "out")])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line == f"segserve: {images[0]} and {images[2]} would both be written to cat_mask.png"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["nowhere", "empty", "rubbish.safetensors", "several"])
def test_predict_refuses_a_bad_model_in_one_line(
    several: Path, photo: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    folder = several.parent
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "rubbish.safetensors").write_bytes(b"rubbish")

    code = main(["predict", str(photo), "--model", str(folder / model)])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert model in line


def test_predict_refuses_a_folder_that_cannot_be_written(
    checkpoints: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["predict", str(photo), "--model", str(checkpoints), "--out", str(photo / "x")])

    assert code == 1
    assert capsys.readouterr().err.startswith("segserve: cannot write ")


def test_check_tells_what_a_checkpoint_holds(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", str(checkpoints / "tiny.safetensors")])

    told = capsys.readouterr().out
    assert code == 0
    for words in ("unet (base_channels=4)", "5 (custom): background, cat", "miou 0.5000", "sha256 and self-test"):
        assert words in told


def test_check_lets_no_escape_sequence_reach_the_terminal(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes((checkpoints / "tiny.safetensors").read_bytes())
    rewrite_spec(path, classes=["\x1b[31mred\n", "\x9b2J", "\u202etac", "Käfer", "car"])

    main(["check", str(path)])

    told = capsys.readouterr().out
    assert r"\x1b[31mred\n, \x9b2J, \u202etac, Käfer, car" in told
    assert told.replace("\n", "").isprintable()


def test_check_refuses_a_file_whose_spec_does_not_fit_its_network(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grey.safetensors"
    path.write_bytes((checkpoints / "tiny.safetensors").read_bytes())
    rewrite_spec(path, input={"mean": [0.5], "std": [0.5], "color_order": "grey"})

    code = main(["check", str(path)])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.endswith("self-test failed, the network cannot run on what its spec feeds it")


def rewrite_spec(path: Path, **fields: object) -> None:
    """Change a checkpoint's spec and leave its weights alone, as no honest program does."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    header = json.loads(entries["__metadata__"]["segserve"])
    header["spec"].update(fields)
    entries["__metadata__"]["segserve"] = json.dumps(header)
    encoded = json.dumps(entries).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data[start:])


def test_check_refuses_a_damaged_file_in_one_line(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray((checkpoints / "tiny.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.safetensors").write_bytes(data)

    code = main(["check", str(tmp_path / "m.safetensors")])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert "sha256" in line
