import numpy as np
import pytest
import torch

from obverse.codecs.rounded_codes import family_of, offset_of, tensors_of
from obverse.coding import TableFamily
from obverse.errors import ModelError

FAMILY = TableFamily.gaussian([0.5, 3.0])


def test_tables_come_back_from_the_tensors_of_a_model():
    tensors = tensors_of("tables", FAMILY) | {"encoder.weight": torch.zeros(3)}
    back = family_of(tensors, "tables", 2, "mine")
    for name, array in FAMILY.state().items():
        np.testing.assert_array_equal(back.state()[name], array)


def test_an_offset_comes_back():
    tensors = {"offset": torch.tensor([0.25, -0.5])}
    assert offset_of(tensors, 2, "mine").tolist() == [0.25, -0.5]


@pytest.mark.parametrize(
    "tensors", [{}, {"offset": torch.zeros(3)}, {"offset": torch.tensor([0.0, torch.nan])}]
)
def test_an_offset_that_does_not_fit_is_said(tensors):
    with pytest.raises(ModelError, match="the model mine is damaged"):
        offset_of(tensors, 2, "mine")


def test_tables_that_lack_or_do_not_fit_are_said():
    tensors = tensors_of("tables", FAMILY)
    with pytest.raises(ModelError, match="the model mine has 2 tables, not 3"):
        family_of(tensors, "tables", 3, "mine")
    with pytest.raises(ModelError, match="the model mine has no whole clusters"):
        family_of(tensors, "clusters", 1, "mine")
    tensors["tables.cdf"] = tensors["tables.cdf"][:-1]
    with pytest.raises(ModelError, match="the model mine has no whole tables"):
        family_of(tensors, "tables", 2, "mine")
