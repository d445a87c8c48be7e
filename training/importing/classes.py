"""Find what the classes of an imported network are called."""

from __future__ import annotations

from pathlib import Path

from model_zoo.labels import VOC_CLASSES, voc_palette
from training.datasets import LabelSpace
from training.errors import InvalidImport
from training.importing.plain import SpecFile

VOC = LabelSpace("voc", VOC_CLASSES, voc_palette(len(VOC_CLASSES)))


def named_classes(text: str | None, spec: SpecFile) -> LabelSpace | None:
    """Take the names that the option says, or else those of the spec file; None where neither says any.

    The option's are ``voc``, names with commas between them, or a file of one name a line. The colours are those of the
    spec file, or else VOC's.

    Raises:
        InvalidImport: names are missing, empty or repeated, or are not as many as the colours.
        OSError: the file of names is missing or may not be read.
    """
    if text == VOC.name:
        return VOC if spec.palette is None else _labels(VOC.name, VOC.classes, spec)
    if text is None:
        return None if spec.classes is None else _labels(spec.label_space, spec.classes, spec)
    return _labels(spec.label_space, _names(text), spec)


def _names(text: str) -> tuple[str, ...]:
    if "," in text:
        return tuple(name.strip() for name in text.split(","))
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidImport(f"{text}: is no text; write one class name a line") from error
    return tuple(line.strip() for line in lines if line.strip())


def _labels(space: str, names: tuple[str, ...], spec: SpecFile) -> LabelSpace:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not all(names) or repeated:
        wrong = f"{repeated[0]!r} is there {names.count(repeated[0])} times" if all(names) else "one is empty"
        raise InvalidImport(f"each class needs a name of its own, but {wrong}")
    palette = spec.palette or voc_palette(min(len(names), 256))
    if len(palette) != len(names):
        raise InvalidImport(f"{len(names)} classes need as many colours, and the palette has {len(palette)}")
    return LabelSpace(space, names, palette)
