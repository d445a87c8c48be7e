"""Do without HTTP what the service does, or needs: predict masks of files, check a checkpoint, tune it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from model_zoo.checkpoint import Checkpoint, Inspection, inspect, verify
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from service.autotune import Autotuner, table
from service.catalog import Catalog, NoUsableModel, refuse_if_hopeless
from service.errors import ServiceError
from service.images import ImageLimits, decode_image
from service.masks.overlay import blend
from service.masks.png import encode_png
from service.settings import Settings
from service.tuning import tuned_path, write_tuning
from service.views import View


class SameName(ValueError):
    """Two images have the same name without their folders and suffixes, so one mask would overwrite the other."""


def predict_files(images: Sequence[Path], *, model: Path, out: Path, npy: bool) -> list[str]:
    """Write ``NAME_mask.png``, ``NAME_overlay.png`` and, if asked, ``NAME_mask.npy`` of each image; give what failed.

    Raises:
        SameName: Two images would be written to the same files.
        BadCheckpoint, NoUsableModel: The model cannot be used.
        OSError: The folder cannot be written.
    """
    _refuse_same_names(images)
    checkpoint = verify(_only_file(model))
    out.mkdir(parents=True, exist_ok=True)
    defaults = Settings()
    limits = ImageLimits(defaults.max_image_pixels, defaults.max_image_side)
    problems = []
    for path in images:
        try:
            data = path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            continue
        try:
            _predict(data, checkpoint, limits, stem=out / path.stem, npy=npy)
        except ServiceError as error:
            problems.append(f"{path}: {error.detail}")
    return problems


def tune_file(path: Path, *, device: str, max_batch_size: int, seconds: float) -> Iterator[str]:
    """Measure a checkpoint, write what was found beside it, and tell of it line by line.

    Raises:
        BadCheckpoint, NoUsableModel: It cannot be used.
        BadSetting: There is no such device.
        OSError: The result cannot be written.
    """
    out = tuned_path(_only_file(path))
    with TemporaryFile(dir=out.parent):  # a folder that cannot be written shall be told before the minute, not after it
        pass
    tuner = Autotuner(_only_file(path), device=device, max_batch_size=max_batch_size)
    yield from tuner.remarks
    tuning = tuner.measure(seconds=seconds)
    yield from table(tuning)
    write_tuning(out, tuning)
    yield f"{out}: written; the service uses it when it loads the model"


def check_file(path: Path) -> Iterator[str]:
    """Give, line by line, what a checkpoint holds, and verify it.

    Raises:
        BadCheckpoint: It cannot be used; what could be read has been given before.
    """
    yield from describe(inspect(path))
    verify(path)
    yield "verified      sha256 and self-test"


def describe(inspection: Inspection) -> Iterator[str]:
    """Give lines that say what a checkpoint holds."""
    header = inspection.header
    spec, training = header.spec, header.training
    options = ", ".join(f"{key}={value}" for key, value in spec.arguments.items())
    yield f"model         {header.name} version {header.version}"
    if header.description:
        yield f"description   {header.description}"
    yield f"architecture  {spec.architecture}" + (f" ({options})" if options else "")
    yield f"parameters    {inspection.num_parameters:,} as {header.dtype}, {inspection.size_bytes:,} bytes"
    yield f"classes       {spec.num_classes} ({spec.label_space}): {', '.join(spec.classes)}"
    yield f"input         {spec.input.color_order}, mean {list(spec.input.mean)}, std {list(spec.input.std)}"
    yield f"size          {spec.size.policy} side {spec.size.side}, padded to a multiple of {spec.size.multiple}"
    for dataset in training.datasets:
        yield f"trained on    {dataset.name} {dataset.split}, {dataset.num_images} images ({dataset.licence})"
    if training.initial_weights is not None:
        yield f"started from  {training.initial_weights.name} ({training.initial_weights.licence})"
    for part in training.averaged:
        yield f"mean of       {part.name} (sha256 {part.sha256[:12]})"
    for metric in header.metrics:
        where = f"{metric.dataset}, {metric.num_images} images, {metric.resolution}"
        yield f"metric        {metric.name} {metric.value:.4f} ({where})"


def _refuse_same_names(images: Sequence[Path]) -> None:
    first_of: dict[str, Path] = {}
    for path in images:
        first = first_of.setdefault(path.stem, path)
        if first is not path:
            raise SameName(f"{first} and {path} would both be written to {path.stem}_mask.png")


def _only_file(path: Path) -> Path:
    """Give the checkpoint file that is meant: the path itself, or the only one of a folder."""
    candidates = Catalog(path).candidates
    refuse_if_hopeless(candidates)
    files = [candidate.path for candidate in candidates if candidate.problem is None]
    if len(files) > 1:
        raise NoUsableModel(f"{path} holds {len(files)} checkpoints; name one of them")
    return files[0]


def _predict(data: bytes, checkpoint: Checkpoint, limits: ImageLimits, *, stem: Path, npy: bool) -> None:
    spec = checkpoint.header.spec
    image = decode_image(data, limits)
    segmentation = predict(checkpoint.network, [network_input(image, spec)], spec)[0]
    labelled = View().label(segmentation, checkpoint.header)
    stem.with_name(f"{stem.name}_mask.png").write_bytes(encode_png(labelled))
    blend(image, labelled.mask, spec.palette).save(stem.with_name(f"{stem.name}_overlay.png"))
    if npy:
        np.save(stem.with_name(f"{stem.name}_mask.npy"), labelled.mask)
