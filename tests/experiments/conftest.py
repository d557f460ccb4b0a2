"""Experiments are scripts in folders of their own, not a package: tests import what lies beside the script."""

import sys

from tests.conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "experiments" / "lossy_bits_back"))
