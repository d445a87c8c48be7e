"""Leave for people what a run has found: ``report.html`` to look at, and ``card.md`` to go with the checkpoint."""

from __future__ import annotations

from pathlib import Path

from model_zoo.atomic import write_atomically
from training.card_page import write_card
from training.findings import examine_run
from training.report_page import draw_page
from training.run_folder import CARD, REPORT


def write_report(run: Path) -> Path:
    """Score the last checkpoint of a run, write report and card into its folder, and give the report's path.

    Raises:
        TrainingError: a file of the run, or its validation set, cannot be read; nothing is written.
        OSError: the folder cannot be written.
    """
    findings = examine_run(run)
    page, card = draw_page(findings), write_card(findings)
    write_atomically(run / REPORT, [page])
    write_atomically(run / CARD, [card])
    return run / REPORT
