"""The sheet of a model: read without torch, and yet what torch computes with."""

import numpy as np
import pytest
from running import ROOT

from model.network import WhiteBoxNetwork
from model.package import read_package
from model.sheet import read_sheet

PACKAGES = sorted(path.parent for path in (ROOT / "artifacts").glob("*/*/manifest.json"))


@pytest.mark.parametrize("directory", PACKAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_sheet_holds_what_the_network_computes_with(directory):
    package = read_package(directory)
    sheet, network = read_sheet(package), WhiteBoxNetwork.from_package(package)
    frozen = network.freeze()
    np.testing.assert_allclose(sheet.kernels, frozen.kernels.detach(), atol=1e-5)
    np.testing.assert_array_equal(sheet.shapes, network.affine.base.detach())
    per_class = len(sheet.shapes) // len(package.labels)
    for index, row in enumerate(sheet.rows):
        own = slice(index * per_class, (index + 1) * per_class)
        posed = frozen.rows[index].detach().numpy()  # (poses, shapes), one own shape in each pose
        np.testing.assert_array_equal(row[own], posed[:, own].sum(axis=1))
        posed[:, own] = row[own]
        assert (posed == row).all()
