"""What a program sets in torch does not reach a codec, and is as it was behind it."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from obverse.codec import Codec
from obverse.testing.machines import SETTINGS, setting
from obverse.torch_settings import known_settings


def state() -> tuple[object, ...]:
    onednn = torch.backends.mkldnn
    return (
        torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.get_default_device(),
        torch._C._get_nnpack_enabled(), onednn.conv.fp32_precision, onednn.matmul.fp32_precision,
    )  # fmt: skip


KNOWN = (torch.float32, False, torch.device("cpu"), False, "ieee", "ieee")


@pytest.mark.parametrize("name", SETTINGS)
def test_known_within_and_as_they_were_behind(name: str) -> None:
    with setting(name):
        before = state()
        with known_settings():
            assert state() == KNOWN
            with known_settings():
                assert state() == KNOWN
            assert state() == KNOWN
        assert state() == before
        with pytest.raises(ValueError), known_settings():
            raise ValueError
        assert state() == before


def test_several_threads_and_the_last_one_restores() -> None:
    before = state()
    entered, leave = threading.Barrier(3), threading.Event()
    seen: list[tuple[object, ...]] = []

    def work() -> None:
        with known_settings():
            entered.wait()
            leave.wait()
            seen.append(state())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait()
    with known_settings():
        pass
    assert not torch._C._get_nnpack_enabled()  # two are still within
    leave.set()
    for thread in threads:
        thread.join()
    assert seen == [KNOWN, KNOWN] and state() == before


def test_public_methods_of_codecs_run_within() -> None:
    class Mine(Codec):
        def encode(self, data, options=None):  # type: ignore[no-untyped-def]
            """Says what it is."""
            return state()

        def decode(self, container, limits=None):  # type: ignore[no-untyped-def]
            return np.zeros(1)

        def _inner(self):  # type: ignore[no-untyped-def]
            return state()

    codec = Mine()
    with setting("float64 as the default type"):
        assert codec.encode(0) == KNOWN and codec._inner() != KNOWN
    assert Mine.encode.__doc__ == "Says what it is."


def test_nothing_is_imported_for_it() -> None:
    program = (
        "import sys\nfrom obverse.torch_settings import known_settings\n"
        "with known_settings():\n    assert 'torch' not in sys.modules\n    import torch\n"
        "    with known_settings():\n        assert not torch._C._get_nnpack_enabled()\n"
        "    assert torch._C._get_nnpack_enabled()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
