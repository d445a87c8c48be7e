"""Find what the classes of an imported network are called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from model_zoo.labels import IGNORE_INDEX, VOC_CLASSES, voc_palette
from training.complaints import shown
from training.datasets import LabelSpace
from training.errors import InvalidImport
from training.importing.plain import SpecFile
from training.importing.texts import read_text

VOC = "voc"
CUSTOM = "custom"


def named_classes(text: str | None, spec: SpecFile) -> LabelSpace | None:
    """Take the names that the option says, or else those of the spec file; None where neither says any.

    The option's are ``voc``, names with commas between them, or a file of one name a line. Colours and label space are
    those of the spec file, or else VOC's colours and, unless the names are VOC's, ``custom``.

    Raises:
        InvalidImport: names are missing, empty, repeated or too many, cannot be printed, or are not as many as the
            colours.
        OSError: the file of names may not be read.
    """
    if text == VOC:
        return voc_classes(spec)
    if text is None:
        return None if spec.classes is None else _labels(CUSTOM, spec.classes, spec)
    return _labels(CUSTOM, _names(text), spec)


def voc_classes(spec: SpecFile) -> LabelSpace:
    """Take VOC's names, with what the spec file says of colours and label space.

    Raises:
        InvalidImport: there are not as many colours.
    """
    return _labels(VOC, VOC_CLASSES, spec)


def _names(text: str) -> tuple[str, ...]:
    if "," in text:
        return tuple(text.split(","))
    if not text or not _is_there(text):
        raise InvalidImport(
            f"--classes {shown(text)}: there is no such file, and one name is no list; write a,b,c, or name a file"
        )
    return tuple(line for line in read_text(Path(text)).splitlines() if line.strip())


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # no file has so long a name
        return False


def _labels(space: str, names: tuple[str, ...], spec: SpecFile) -> LabelSpace:
    if len(names) > IGNORE_INDEX:
        raise InvalidImport(f"{len(names)} class names, at most {IGNORE_INDEX} are allowed")
    names = tuple(name.strip() for name in names)
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if not all(names) or count > 1:
        wrong = f"{shown(name)!r} is there {count} times" if all(names) else "one is empty"
        raise InvalidImport(f"each class needs a name of its own, but {wrong}")
    odd = next((name for name in names if not name.isprintable()), None)
    if odd:
        raise InvalidImport(f"class name {shown(odd)} has characters that cannot be printed")
    palette = spec.palette or voc_palette(len(names))
    if len(palette) != len(names):
        raise InvalidImport(f"{len(names)} classes need as many colours, and the palette has {len(palette)}")
    return LabelSpace(spec.label_space or space, names, palette)
