"""What several tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from obverse.threads import available_threads, wait_passively

wait_passively()  # tests of two threads beside a worker: threads that spin would take the cores of those that work
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # workers share the cores; read when torch is first imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--make-golden", action="store_true", help="write the golden files that are missing")


REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("OBVERSE_DATA", REPOSITORY.parent / "shared" / "data"))


@contextmanager
def torch_setting(threads: int, onednn: bool) -> Iterator[None]:
    """Run with so many threads, and with oneDNN's kernels or without."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    # the public torch.backends.mkldnn.flags warns about settings of other devices
    torch._C._set_mkldnn_enabled(onednn)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(True)
        torch.set_num_threads(before)


def smooth_photo(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A synthetic photo, uint8: a smooth colour field with edges and a little grain."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 24), max(2, width // 24), 3), dtype=np.uint8)
    field = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    rows, columns = np.mgrid[:height, :width]
    field[(rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (min(height, width) / 4) ** 2] += 40
    field += rng.normal(0, 3, field.shape)
    photo = field.clip(0, 255).round().astype(np.uint8)
    return photo if channels == 3 else photo[:, :, 0]


@pytest.fixture
def photo() -> np.ndarray:
    """(80, 112, 3) uint8."""
    return smooth_photo(80, 112)


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data, for the tests that use it; they are skipped without."""
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA} (set OBVERSE_DATA)")
    return DATA


@pytest.fixture
def one_thread():
    """Torch adds up in another order with more threads; with one, results are the same to the last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A command that is told how many threads it may use tells torch, for the whole process: here for one test."""
    torch = sys.modules.get("torch")
    before = available_threads() if torch is None else torch.get_num_threads()
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(before)


NOBODY = 65534


def as_nobody() -> list[str]:
    """Words before a command that end being root, who may write everywhere, but for the right to read, which Python
    itself may need; none for others, who stay who they are."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root cannot become another user here")
    keep = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return ["setpriv", f"--reuid={NOBODY}", "--clear-groups", *keep]
