import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.datasets.matlab_file import matlab_file
from training.datasets.matlab import read_matrix


@given(height=st.integers(1, 9), width=st.integers(1, 9), compressed=st.booleans())
def test_a_matrix_comes_back_row_by_row(height: int, width: int, compressed: bool) -> None:
    matrix = np.arange(height * width, dtype=np.uint8).reshape(height, width)

    content = matlab_file(matrix, compressed=compressed)

    assert np.array_equal(read_matrix(content, "GTcls", "Segmentation"), matrix)


@given(share=st.floats(0, 0.99), compressed=st.booleans())
def test_a_file_that_is_cut_short_is_refused(share: float, compressed: bool) -> None:
    content = matlab_file(np.zeros((20, 20), np.uint8), compressed=compressed)

    with pytest.raises(ValueError, match=r"MATLAB 5 file|no GTcls"):
        read_matrix(content[: int(len(content) * share)], "GTcls", "Segmentation")


@pytest.mark.parametrize(("variable", "field"), [("GTinst", "Segmentation"), ("GTcls", "Instances")])
def test_what_is_not_in_the_file_is_named(variable: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"no {variable}.{field}"):
        read_matrix(matlab_file(np.zeros((2, 2), np.uint8)), variable, field)
