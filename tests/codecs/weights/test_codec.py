"""Weights come back byte by byte, one tensor is read by itself, a base is asked for, and memory stays small."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

import obverse
from obverse.codecs.weights.item import encode_tensor
from obverse.codecs.weights.layout import make_layout
from obverse.codecs.weights.tensors import DTYPES, Tensors
from obverse.container import ItemReader, Limits, read, write
from obverse.errors import DamagedError, InputError, LimitError, SideInformationError
from tests.codecs.weights.cases import every_type, layers, matrix


def test_a_file_comes_back_as_it_was() -> None:
    raw = save({"a": matrix(20, 30, np.float32, 0), "b": np.arange(5)}, {"format": "pt"})
    padded = (len(raw) - 8).to_bytes(8, "little")  # a header with spaces of its own
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")] + b"   "
    raw = len(header).to_bytes(8, "little") + header + raw[8 + int.from_bytes(raw[:8], "little") :]
    assert padded and bytes(np.asarray(obverse.decompress(obverse.compress(raw, codec="weights")))) == raw


def test_arrays_of_numpy_and_torch_are_taken() -> None:
    arrays = {
        "n": matrix(8, 9, np.float32, 1),
        "t": torch.arange(4.0),
        "b": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    }
    back = obverse.decompress(obverse.compress(arrays, codec="weights"))
    assert np.array_equal(back["n"], arrays["n"]) and np.array_equal(
        back["t"], np.arange(4, dtype=np.float32)
    )
    assert back["b"].dtype == ml_dtypes.bfloat16 and np.signbit(back["b"].astype(np.float32)[1])


def test_big_endian_and_strided_arrays() -> None:
    array = matrix(10, 12, np.float32, 2)
    back = obverse.decompress(obverse.compress({"x": array.astype(">f4").T[::2]}, codec="weights"))
    assert np.array_equal(back["x"], array.T[::2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"a": "text"},
        {3: np.zeros(2)},
        [np.zeros(2)],
        {"a": np.zeros(2, "datetime64[s]")},
        {"a": np.array([None])},
    ],
)
def test_what_are_no_weights(wrong: object) -> None:
    with pytest.raises(InputError):
        obverse.compress(wrong, codec="weights")


def test_one_tensor_is_read_without_the_rest() -> None:
    tensors = layers()
    file = obverse.compress(tensors, codec="weights")

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counting.taken += len(data)
            return data

    with obverse.open(Counting(file)) as opened:
        before = Counting.taken
        assert np.array_equal(opened["layer.0.bias"], tensors["layer.0.bias"])
        assert Counting.taken - before < len(file) / 20
        assert list(opened) == list(tensors) and len(opened) == len(tensors)
        with pytest.raises(KeyError):
            opened["no such tensor"]


def test_equal_tensors_are_stored_once() -> None:
    weight = matrix(64, 64, np.float32, 3)
    once, twice = (
        len(obverse.compress(dict.fromkeys(names, weight), codec="weights")) for names in ("a", "ab")
    )
    assert twice < once + 120


def test_rows_and_columns_of_different_scale_take_fewer_bits() -> None:
    tensor = Tensors.of({"w": matrix(256, 256, ml_dtypes.bfloat16, 4)}).layout.tensors[0]
    data = np.ascontiguousarray(matrix(256, 256, ml_dtypes.bfloat16, 4)).reshape(-1).view(np.uint8)
    plain, by_places = (sum(map(len, encode_tensor(data, tensor, effort))) for effort in (0, 3))
    assert by_places < 0.95 * plain


def test_repeats_are_found() -> None:
    block = matrix(8, 128, np.float32, 5)
    tiled = {"w": np.tile(block, (32, 1))}
    assert len(obverse.compress(tiled, codec="weights")) < 1.5 * block.nbytes


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F8_E4M3", "I8", "U16", "I32", "F64"])
def test_changes_of_a_base_come_back(dtype: str) -> None:
    rng = np.random.default_rng(6)
    base = {
        "w": np.frombuffer(rng.bytes(60 * 40 * DTYPES[dtype].itemsize), DTYPES[dtype]).reshape(60, 40),
        "gone": np.zeros(2),
    }
    changed = base["w"].copy()
    flat = changed.reshape(-1).view(np.uint8)
    flat[:: 3 * DTYPES[dtype].itemsize] ^= rng.integers(
        0, 256, len(flat[:: 3 * DTYPES[dtype].itemsize]), np.uint8
    )
    new = {"w": changed, "new": np.arange(9.0)}
    file = obverse.compress(new, codec="weights", base=base)
    back = obverse.decompress(file, side_info=base)
    assert back["w"].tobytes() == changed.tobytes() and np.array_equal(back["new"], new["new"])
    same = obverse.compress(base, codec="weights", base=base)
    assert len(same) < 400 and obverse.decompress(same, side_info=base)["w"].tobytes() == base["w"].tobytes()


def test_a_fine_tuned_model_takes_less_with_its_base() -> None:
    weight = matrix(128, 128, np.float32, 7)
    tuned = {"w": weight + np.float32(1e-3) * matrix(128, 128, np.float32, 8)}
    alone = len(obverse.compress(tuned, codec="weights"))
    assert len(obverse.compress(tuned, codec="weights", base={"w": weight})) < 0.7 * alone


def test_the_base_is_asked_for_by_name(tmp_path: Path) -> None:
    base, new = {"w": matrix(16, 16, np.float32, 9)}, {"w": matrix(16, 16, np.float32, 10)}
    file = obverse.compress(new, codec="weights", base=base)
    plain = obverse.compress(new, codec="weights")
    name = read(file).config[0].hex()
    for call in (obverse.decompress, obverse.open):
        with pytest.raises(SideInformationError, match=name):
            call(file)
        with pytest.raises(SideInformationError, match=name):
            call(file, side_info=new)
        with pytest.raises(SideInformationError, match="without a base"):
            call(plain, side_info=base)
    packed = tmp_path / "base.obv"
    packed.write_bytes(obverse.compress(base, codec="weights"))
    assert np.array_equal(obverse.decompress(file, side_info=packed)["w"], new["w"])
    with obverse.open(file, side_info=packed) as opened:
        assert np.array_equal(opened["w"], new["w"])
    with pytest.raises(InputError, match="no file"):
        obverse.decompress(file, side_info=tmp_path / "missing.safetensors")


def test_golden_change_of_a_base() -> None:
    """What the first version wrote against a base is read for ever."""
    folder = Path(__file__).parent / "golden-base"
    base, wanted = (load((folder / f"{name}.safetensors").read_bytes()) for name in ("base", "new"))
    back = obverse.decompress(folder / "new.obv", side_info=base)
    assert set(back) == set(wanted) and all(back[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_damage_against_a_base_is_an_error_of_ours() -> None:
    base, new = (
        {"w": matrix(40, 40, np.float32, 11)},
        {"w": matrix(40, 40, np.float32, 11) * np.float32(1.001)},
    )
    container = read(obverse.compress(new, codec="weights", base=base))
    rng = np.random.default_rng(12)
    item = container.items[1]  # type: ignore[index]
    codec = obverse.open_codec("weights")
    for _ in range(300):
        changed = bytearray(item)
        for place in rng.integers(0, len(changed), 2):
            changed[place] ^= int(rng.integers(1, 256))
        cut = bytes(changed[: int(rng.integers(1, len(changed) + 1))])
        hostile = obverse.Container(**{**vars(container), "items": (container.items[0], cut)})  # type: ignore[index]
        with pytest.raises(DamagedError):
            codec.decode(read(write(hostile)), side_info=base)  # type: ignore[call-arg]


def test_limits_hold_for_a_tensor_of_a_file_and_for_all_of_it() -> None:
    file = obverse.compress(
        {"a": np.zeros(5000, np.float32), "b": np.zeros(5000, np.float32)}, codec="weights"
    )
    with pytest.raises(LimitError):
        obverse.decompress(file, limits=Limits(memory=30_000))
    with obverse.open(file, limits=Limits(memory=30_000)) as opened:
        assert not opened["a"].any()
    with obverse.open(file, limits=Limits(memory=10_000)) as opened, pytest.raises(LimitError):
        opened["a"]


def test_open_is_for_files_with_parts(tmp_path: Path) -> None:
    photo = obverse.compress(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="no parts"):
        obverse.open(photo)


def test_open_by_an_address() -> None:
    fsspec = pytest.importorskip("fsspec")
    file = obverse.compress(layers(), codec="weights")
    with fsspec.open("memory://bucket/model.obv", "wb") as remote:
        remote.write(file)
    with obverse.open("memory://bucket/model.obv") as opened:
        assert np.array_equal(opened["layer.0.weight"], layers()["layer.0.weight"])
    with pytest.raises(InputError):
        obverse.open("memory://bucket/missing.obv")


def test_every_type_is_loaded_as_it_is() -> None:
    back = obverse.decompress(obverse.compress(every_type(), codec="weights"))
    for name, dtype in DTYPES.items():
        assert back[name].dtype == dtype
    assert back["scalar"].shape == () and back["empty"].shape == (0, 3)


STREAM = """
import resource, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from obverse.cli import run
source, target, again = map(Path, sys.argv[1:])
small = source.with_name("small.safetensors")
save_file({"w": np.ones((40, 50), np.float32) * np.arange(50)}, small)  # loads all libraries
again_small = str(small) + ".safetensors"
assert run(["compress", str(small)]) == run(["decompress", str(small.with_suffix(".obv")), "-o", again_small]) == 0
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
most = held + 2 * {tensor} + {spare}
resource.setrlimit(resource.RLIMIT_AS, (most, most))
assert source.stat().st_size > most, (source.stat().st_size, most)
assert run(["compress", str(source), "-o", str(target), "--no-verify"]) == 0
assert run(["decompress", str(target), "-o", str(again)]) == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory as Linux has them")
def test_a_file_larger_than_memory(tmp_path: Path) -> None:
    """60 tensors of 32 MiB, with room for two of them."""
    count, size = 60, 2**25
    block = np.random.default_rng(13).standard_normal(size // 4).astype(np.float32)
    source, target, again = (tmp_path / name for name in ("big.safetensors", "big.obv", "again.safetensors"))
    layout = make_layout([(f"t{i:02}", "F32", (size // 1024, 256)) for i in range(count)], {})
    with source.open("wb") as file:
        file.write(layout.front)
        for i in range(count):
            file.write(np.roll(block, i).tobytes() if i % 12 == 0 else bytes(size))
    program = STREAM.replace("{tensor}", str(size)).replace("{spare}", str(2**26))
    done = subprocess.run(
        [sys.executable, "-c", program, source, target, again], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with source.open("rb") as a, again.open("rb") as b:
        while piece := a.read(2**24):
            assert piece == b.read(2**24)
    with ItemReader(target) as reader:
        assert len(reader) == count + 1
