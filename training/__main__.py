"""Train, evaluate, look at data, and bring networks in and out, from the command line: ``segtrain``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from model_zoo import checkpoint
from model_zoo.allocator import keep_freed_memory
from model_zoo.atomic import write_atomically
from model_zoo.checkpoint import BadCheckpoint
from training.averaging import Exam, average_checkpoints
from training.contact_sheet import draw_contact_sheet
from training.datasets import Reference, open_dataset
from training.downloads import DOWNLOADS, download
from training.errors import InvalidDataset, InvalidOption, InvalidRecipe, LeakingDataset, TrainingError
from training.evaluation.crf import Crf
from training.evaluation.evaluate import assess
from training.evaluation.inference import Inference
from training.evaluation.scores import score_table, score_values
from training.exporting.command import add_export_options, run_export
from training.importing.command import add_import_options, run_import
from training.loop import fit
from training.precision import determinism
from training.processes import joined
from training.recipe import Recipe, read_recipe
from training.report import write_report
from training.run_folder import CARD
from training.survey import shared_images, survey, survey_lines
from training.telling import tell

BAD_INPUT = 2
INTERRUPTED = 130
NONE = "none"
"""What an optional field is set to that a recipe has and a run shall not have."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give the exit code: 2, with one line on stderr, where something cannot be used."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    try:
        match options.command:
            case "fit":
                _fit(options, words)
            case "evaluate":
                _evaluate(options)
            case "average":
                _average(options, words)
            case "report":
                _report(options)
            case "export":
                run_export(options)
            case "import":
                run_import(options, words)
            case _:
                _data(options)
    except (TrainingError, BadCheckpoint) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("segtrain: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _fit(options: argparse.Namespace, words: Sequence[str]) -> None:
    given = {field: getattr(options, field) for field in Recipe.model_fields}
    changes = {field: value for field, value in given.items() if value is not None}
    for field, value in changes.items():
        if value == NONE and type(None) in get_args(Recipe.model_fields[field].annotation):
            changes[field] = None
        elif _is_table(Recipe.model_fields[field].annotation):
            changes[field] = dict(_read_entry(field, text) for text in value)
    recipe = read_recipe(options.recipe, changes)
    command = shlex.join(["segtrain", *words])
    keep_freed_memory()
    with joined(recipe.device) as processes, determinism(is_wanted=recipe.deterministic):
        scores = fit(recipe, options.out, command=command, overwrite=options.overwrite, processes=processes)
        if processes.is_first:
            print(f"{options.out}: last mIoU {scores.mean_iou:.4f}, pixel accuracy {scores.pixel_accuracy:.4f}")


def _evaluate(options: argparse.Namespace) -> None:
    if options.json and not options.json.parent.is_dir():
        raise InvalidOption(f"--json {options.json}: there is no folder {options.json.parent}")
    loaded = checkpoint.load(options.checkpoint)
    dataset = open_dataset(options.data)
    how = Inference(
        scales=tuple(options.scales),
        flip=options.flip,
        window=options.window,
        overlap=options.overlap,
        tile=options.tile,
        margin=options.margin,
        shift_step=options.shift_and_stitch,
        crf=_crf(options),
    )
    spec = loaded.header.spec
    found = assess(loaded.network, spec, dataset, how, network_resolution=options.network_resolution)
    print(score_table(found, spec.classes))
    if options.json:
        values = {**score_values(found, spec.classes), "inference": asdict(how)}
        write_atomically(options.json, [json.dumps(values, indent=2).encode() + b"\n"])


def _crf(options: argparse.Namespace) -> Crf | None:
    """Give the CRF that is asked for, by its own option or by any of its values."""
    values = {field.name: getattr(options, f"crf_{field.name}") for field in fields(Crf)}
    given = {name: value for name, value in values.items() if value is not None}
    return Crf(**given) if options.crf or given else None


def _average(options: argparse.Namespace, words: Sequence[str]) -> None:
    exam = None
    if options.data:
        dataset = open_dataset(options.data)
        reference = Reference.parse(options.data)
        exam = Exam(dataset, options.data_name or f"{reference.name} {reference.split}")
    command = shlex.join(["segtrain", *words])
    header = average_checkpoints(
        options.checkpoints, options.out, exam=exam, command=command, overwrite=options.overwrite
    )
    scores = [f"{metric.name} {metric.value:.4f}" for metric in header.metrics[:2]]
    tell([f"{options.out}: {', '.join(scores) or 'not scored'}"], of=options.out)


def _report(options: argparse.Namespace) -> None:
    print(write_report(options.run))
    print(options.run / CARD)


def _data(options: argparse.Namespace) -> None:
    if not options.sheet.parent.is_dir():
        raise InvalidOption(f"--sheet {options.sheet}: there is no folder {options.sheet.parent}")
    if options.download:
        download(Reference.parse(options.reference))
    dataset = open_dataset(options.reference)
    other = open_dataset(options.against) if options.against else None
    found = survey(dataset)
    print("\n".join(survey_lines(dataset, found)))
    draw_contact_sheet(dataset, found).save(options.sheet, "PNG")
    print(f"contact sheet: {options.sheet}")
    if found.broken:
        raise InvalidDataset(f"{len(found.broken)} of {len(dataset)} samples are broken")
    if other is not None:
        _tell_shared(options.against, shared_images(dataset, other))


def _tell_shared(against: str, shared: Sequence[tuple[str, str]]) -> None:
    if shared:
        names = ", ".join(one if one == other else f"{one} = {other}" for one, other in shared[:10])
        raise LeakingDataset(f"{len(shared)} images are in {against}, too: {names}{', ...' * (len(shared) > 10)}")
    print(f"shares no image with {against}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="segtrain", description="Train and evaluate segmentation networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    fit_parser = commands.add_parser("fit", help="train as a recipe says")
    fit_parser.add_argument("--recipe", default="default", help="name of a recipe, or a .toml file (%(default)s)")
    fit_parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints and metrics.csv")
    fit_parser.add_argument("--overwrite", action="store_true", help="replace the run that is in the folder")
    fields = fit_parser.add_argument_group("fields of the recipe", "what may be absent is taken away by the value none")
    for name, field in Recipe.model_fields.items():
        flag, about = f"--{name.replace('_', '-')}", field.description
        if field.annotation is bool:
            fields.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, help=about)
        elif _is_table(field.annotation):
            flags = [flag, flag.removesuffix("s")] if name == "arguments" else [flag]
            fields.add_argument(*flags, dest=name, action="append", metavar="KEY=VALUE", help=about)
        elif get_origin(field.annotation) is tuple:
            fields.add_argument(flag, dest=name, action="append", metavar=name.upper(), help=f"{about} (repeatable)")
        else:
            fields.add_argument(flag, dest=name, metavar=name.upper(), help=about)
    evaluate_parser = commands.add_parser("evaluate", help="score a checkpoint on a dataset")
    evaluate_parser.add_argument("checkpoint", type=Path, help="a checkpoint file")
    evaluate_parser.add_argument("--data", required=True, help="dataset, as READER:LIST:PATH, such as voc:val:PATH")
    evaluate_parser.add_argument("--json", type=Path, metavar="PATH", help="write the scores to this file too")
    evaluate_parser.add_argument("--network-resolution", action="store_true", help="score at the network's size too")
    views = evaluate_parser.add_argument_group("how each image is seen, if not as the service sees it")
    views.add_argument("--flip", action="store_true", help="mirrored too; probabilities are averaged")
    views.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="SCALE", help="at several sizes")
    views.add_argument("--window", type=int, metavar="SIDE", help="in windows that overlap and are blended")
    views.add_argument("--overlap", type=float, default=0.5, metavar="SHARE", help="of two windows (%(default)s)")
    views.add_argument("--tile", type=int, metavar="SIDE", help="in tiles that touch, mirrored at the border")
    views.add_argument("--margin", type=int, default=96, metavar="PIXELS", help="seen around a tile (%(default)s)")
    views.add_argument(
        "--shift-and-stitch", type=int, nargs="?", const=1, metavar="STEP", help="FCN-32s on shifts of STEP pixels (1)"
    )
    views.add_argument("--crf", action="store_true", help="refined to the edges of the image by a dense CRF")
    _add_crf_options(views)
    average_parser = commands.add_parser("average", help="average the weights of runs that began with the same ones")
    average_parser.add_argument("checkpoints", type=Path, nargs="+", help="2 or more checkpoint files of one spec")
    average_parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write")
    average_parser.add_argument("--data", metavar="REFERENCE", help="dataset to score it on, as READER:LIST:PATH")
    average_parser.add_argument("--data-name", metavar="NAME", help="what the card calls it, if not its folder")
    average_parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint that is there")
    report_parser = commands.add_parser("report", help="show what a run has found, in report.html and card.md")
    report_parser.add_argument("run", type=Path, help="folder of a finished run")
    add_export_options(commands.add_parser("export", help="write a checkpoint as an ONNX file"))
    add_import_options(commands.add_parser("import", help="make a checkpoint of weights that others have trained"))
    data_parser = commands.add_parser("data", help="check a dataset, count its classes and draw a contact sheet")
    data_parser.add_argument("reference", help="dataset, as READER:LIST:PATH, such as voc:train:PATH")
    data_parser.add_argument(
        "--against", metavar="REFERENCE", help="another dataset, which must share no image with it"
    )
    data_parser.add_argument("--sheet", type=Path, default=Path("contact-sheet.png"), help="picture (%(default)s)")
    data_parser.add_argument("--download", action="store_true", help=f"fetch it first ({', '.join(DOWNLOADS)})")
    return parser


def _add_crf_options(group: argparse._ArgumentGroup) -> None:
    for field in fields(Crf):
        kind, about = type(field.default), f"{field.metadata['about']} ({field.default})"
        group.add_argument(f"--crf-{field.name.replace('_', '-')}", type=kind, metavar="VALUE", help=about)


def _is_table(annotation: object) -> bool:
    """Say whether a field of this type is a table, whose entries are given one by one."""
    return get_origin(annotation) is Mapping or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


def _read_entry(field: str, text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; the value is as in TOML, or else the text itself."""
    key, separator, value = text.partition("=")
    if not separator:
        raise InvalidRecipe(f"--{field} {text}: write KEY=VALUE")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _complain(message: str) -> int:
    print(f"segtrain: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
