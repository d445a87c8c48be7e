from pathlib import Path

import pytest

from training.errors import UnreadableRun
from training.findings import read_rows


def table(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_bytes(text.encode("latin-1"))
    return path


def test_columns_that_are_not_known_may_hold_anything(tmp_path: Path) -> None:
    path = table(tmp_path, "epoch,note,loss,val_miou\n1,first,0.5,\n2,,nan,0.25\n")

    assert read_rows(path) == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "val_miou": 0.25}]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "metrics.csv: there is no epoch in it"),
        ("epoch,loss\n", "metrics.csv: there is no epoch in it"),
        ("step,loss\n1,2\n", "metrics.csv, line 2: there is no epoch"),
        ("epoch,loss\n1,2\n2,low\n", "metrics.csv, line 3: could not convert string to float: 'low'"),
        ("epoch,loss\n1,2\n2\n", "metrics.csv, line 3: there are fewer values than columns"),
        ("epoch,loss\n1,2,3\n", "metrics.csv, line 2: there are more values than columns"),
        ("epoch,loss\n1,\xff\n", "metrics.csv: 'utf-8' codec can't decode byte 0xff"),
        ('epoch,loss\n1,"2\n', "metrics.csv: unexpected end of data"),
    ],
)
def test_a_damaged_table_is_refused_by_file_and_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UnreadableRun) as refusal:
        read_rows(table(tmp_path, text))

    assert str(refusal.value).startswith(str(tmp_path / complaint))
    assert "\n" not in str(refusal.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRun, match=r"metrics\.csv: No such file or directory"):
        read_rows(tmp_path / "metrics.csv")
