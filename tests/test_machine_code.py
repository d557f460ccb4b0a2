"""Compiled functions of an earlier process, without Numba: the same results, or Numba after all."""

from __future__ import annotations

import importlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import obverse
from obverse.jit import CompiledFunction, machine_code, njit
from obverse.jit.machine_code import flattened, leaves, undefined_symbols
from obverse.jit.origin import SUFFIX

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="machine code is kept on Linux")

HELPER = """
from obverse.jit import njit

STEP = 5

@njit(cache=True, nogil=True, forceinline=True)
def more(x):
    return x + 1
"""
SOURCE = """
import helper
import numpy as np
from helper import STEP
from obverse.jit import njit

@njit(cache=True, nogil=True)
def total(x, factor):
    s = np.int64(0)
    for i in range(len(x)):
        s += helper.more(x[i]) * factor
    return s + STEP

@njit(cache=True, nogil=True)
def doubled(x):
    return 2 * x  # makes an array
"""
PROGRAM = """
import sys
import numpy as np
import mine
x = np.arange(10)
print(mine.total(x, 3), "numba" in sys.modules)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "helper.py").write_text(HELPER)
    (folder / "mine.py").write_text(SOURCE)
    return folder


def start(package: Path, program: str = PROGRAM, **variables: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-B", "-c", program],
        env=environment | variables,
        cwd=package,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate()
    assert process.returncode == 0 and err == "", err
    return out.split()


def run(package: Path, program: str = PROGRAM, **variables: str) -> list[str]:
    return finished(start(package, program, **variables))


def codes(package: Path) -> list[Path]:
    return sorted(package.rglob(f"*{SUFFIX}"))


def test_a_second_process_does_without_numba(package: Path) -> None:
    assert run(package) == ["170", "True"]
    assert [path.name.partition("-")[0] for path in codes(package)] == ["mine.total"]
    assert run(package) == ["170", "False"]
    assert not [path for path in package.rglob("*.tmp")]


def test_damaged_foreign_and_truncated_files_are_written_anew(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(package)
    (path,) = codes(package)
    good = path.read_bytes()
    bad = good[:-200] + bytes([good[-200] ^ 1]) + good[-199:]
    for data in (bad, good[:-1], good[:40]):
        path.write_bytes(data)
        assert run(package) == ["170", "True"]
        assert run(package) == ["170", "False"]
    monkeypatch.syspath_prepend(package)
    origin = importlib.import_module("mine").total._origin
    signature = "i8[1] i8"
    assert machine_code.load(origin, signature) is not None
    for data in (good[:10], b"", b"another program's", good + b"\0", good.replace(b"i8", b"u8")):
        path.write_bytes(data)
        assert machine_code.load(origin, signature) is None
    path.unlink()
    path.mkdir()  # cannot be read or written over
    assert run(package) == ["170", "True"]


def test_a_file_of_another_machine_is_not_loaded(package: Path) -> None:
    run(package)
    (path,) = codes(package)
    other = "from obverse.jit import origin\norigin.machine_key = lambda: 'another processor'\nimport mine"
    assert run(package, PROGRAM.replace("import mine", other)) == ["170", "True"]
    assert len(codes(package)) == 2  # a file each: a home folder may be shared by machines
    # the same, where only what is within says so
    (foreign,) = set(codes(package)) - {path}
    path.write_bytes(foreign.read_bytes())
    assert run(package) == ["170", "True"]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("mine.py", "* factor", "* factor + 1", "180"),
        ("mine.py", "# makes an array", "# makes an array, as one says", "170"),
        ("helper.py", "x + 1", "x + 2", "200"),
        ("helper.py", "STEP = 5", "STEP = 6", "171"),
    ],
)
def test_a_changed_source(package: Path, name: str, old: str, new: str, expected: str) -> None:
    run(package)
    source = (package / name).read_text()
    assert old in source
    (package / name).write_text(source.replace(old, new))
    assert run(package) == [expected, "True"]
    assert run(package) == [expected, "False"]
    assert len(codes(package)) == 1


def test_processes_that_write_at_once(package: Path) -> None:
    processes = [start(package) for _ in range(3)]
    for process in processes:
        assert finished(process)[0] == "170"
    assert run(package) == ["170", "False"]
    assert len(codes(package)) == 1
    assert not [path for path in package.rglob("*.tmp")]


def test_functions_that_make_arrays_stay_with_numba(package: Path) -> None:
    program = PROGRAM.replace("mine.total(x, 3)", "mine.doubled(x).sum()")
    for _ in range(2):
        assert run(package, program) == ["90", "True"]
    assert codes(package) == []


def test_arguments_that_only_numba_takes(package: Path) -> None:
    run(package)
    calls = ("x[::-1], 3", "x.astype(np.int16), 3", "x, factor=3", "x, np.float64(3)", "np.arange(10.), 3")
    program = PROGRAM.replace("mine.total(x, 3)", ", ".join(f"int(mine.total({call}))" for call in calls))
    assert run(package, program) == ["170"] * len(calls) + ["True"]


def test_settings_of_numba_are_its_own(package: Path, tmp_path: Path) -> None:
    run(package)
    assert run(package, PROGRAM, NUMBA_OPT="1") == ["170", "True"]
    assert run(package, PROGRAM.replace("mine.total(", "mine.total.py_func("))[0] == "170"
    run(package, NUMBA_CACHE_DIR=str(tmp_path / "given"))
    assert len(codes(tmp_path / "given")) == 1
    assert run(package, "import mine; print(type(mine.total).__name__)", NUMBA_DISABLE_JIT="1") == [
        "function"
    ]
    program = (
        "open('.numba_config.yaml', 'w').close(); import obverse.jit; print(obverse.jit._numba_is_set_up())"
    )
    assert run(package, program) == ["True"]


def test_no_folder(package: Path) -> None:
    nowhere = "from obverse.jit import origin\norigin.cache_folder = lambda _: None\nimport mine"
    program = PROGRAM.replace("import mine", nowhere)
    for _ in range(2):
        assert run(package, program) == ["170", "True"]
    assert codes(package) == []


def test_a_photo_without_loss_is_decoded_without_numba(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    (tmp_path / "x.obv").write_bytes(obverse.compress(image, "image-lossless"))
    program = """if True:
        import sys, obverse
        image = obverse.decompress("x.obv")
        print(image.sum(), "numba" in sys.modules)
    """
    run(tmp_path, program)  # there may be nothing yet
    assert run(tmp_path, program) == [str(image.sum()), "False"]


# -- in one process -----------------------------------------------------------------------------------


class Pair(NamedTuple):
    numbers: np.ndarray
    more: np.ndarray


def mixed(pair, x, n, sure, scale, table):  # type: ignore[no-untyped-def]
    for i in range(len(pair.numbers)):
        pair.numbers[i] = pair.more[0, i] * np.int32(3) + table[i & 3]
        x = (x << np.uint64(1)) ^ np.uint64(pair.numbers[i])
    return x, n + np.int64(sure), scale * 0.5


def divided(a, b):  # type: ignore[no-untyped-def]
    return a // b


def fill(out, value):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = value


def positive(x):  # type: ignore[no-untyped-def]
    return x > 0


def half(x):  # type: ignore[no-untyped-def]
    return np.float32(x * np.float32(0.5))


def both(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: Any
) -> tuple[CompiledFunction, CompiledFunction]:
    """The function by Numba, and as machine code."""
    from obverse.jit import folder, origin

    monkeypatch.setattr(origin, "cache_folder", lambda _: str(tmp_path))
    folder.cache_folder.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    first: Any = njit(cache=True, nogil=True)(function)
    first(*arguments)
    assert first._run is not first._run_code
    second: Any = njit(cache=True, nogil=True)(function)
    second(*arguments)
    assert len(second._codes) == 1
    return first, second


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NUMBA_")]:
        monkeypatch.delenv(name)


def test_results_are_those_of_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(7)
    table = random.integers(0, 9, 4)
    table.flags.writeable = False

    def arguments(size: int) -> tuple[Any, ...]:
        pair = Pair(np.zeros(size, np.uint32), random.integers(-(2**31), 2**31, (1, size), np.int32))
        x = np.uint64(random.integers(0, 2**64, dtype=np.uint64))
        return pair, x, int(random.integers(-(2**62), 2**62)), bool(size % 2), float(random.normal()), table

    first, second = both(mixed, monkeypatch, tmp_path, *arguments(3))
    for size in (0, 1, 5, 100):
        given = arguments(size)
        expected = first(*given)
        filled = given[0].numbers.copy()
        given[0].numbers[:] = 0
        got = second(*given)
        assert got == expected and [type(v) for v in got] == [type(v) for v in expected] == [int, int, float]
        assert (given[0].numbers == filled).all()
    assert len(second._codes) == 1


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"])
def test_numbers_of_each_kind(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = np.dtype(dtype).type
    out = np.zeros((2, 3), dtype)
    _, second = both(fill, monkeypatch, tmp_path, out, kind(1))
    values = (
        [0, 1] if dtype == "?" else [0.1, -2.5] if "f" in dtype else [np.iinfo(kind).min, np.iinfo(kind).max]
    )
    for value in values:
        assert second(out, kind(value)) is None
        assert (out == kind(value)).all()


def test_results_that_are_one_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for function, values in ((positive, [1.5, -1.5, 0.0]), (half, [np.float32(0.3), np.float32(-7)])):
        first, second = both(function, monkeypatch, tmp_path, values[0])
        for value in values:
            assert second(value) == first(value) and type(second(value)) is type(first(value))


def test_exceptions_are_those_of_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = both(divided, monkeypatch, tmp_path, 7, 2)
    assert second(-7, 2) == -4
    for function in (first, second):
        with pytest.raises(ZeroDivisionError):
            function(1, 0)
    assert second._run == second._run_code  # it was the machine code that said so


def test_threads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both(divided, monkeypatch, tmp_path, 7, 2)
    fresh: Any = njit(cache=True, nogil=True)(divided)
    results: list[bool] = []

    def work(k: int) -> None:
        results.append(all(fresh(k * i, k) == i for i in range(200)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


def test_after_many_calls_numba_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = both(divided, monkeypatch, tmp_path, 7, 2)
    monkeypatch.setattr("obverse.jit.MANY_CALLS", 0)
    assert second(9, 2) == 4
    assert second._run is second._dispatcher


def test_signatures_tell_apart_what_numba_does() -> None:
    x = np.zeros((2, 3), np.int32)
    frozen = x.copy()
    frozen.flags.writeable = False
    arguments = [1, True, 1.0, np.int32(1), np.uint64(1), x, x[0], frozen, (1, 2.0), (x, x), Pair(x, x)]
    signatures = [flattened((argument,))[0] for argument in arguments]
    assert len(set(signatures)) == len(arguments)
    for argument, signature in zip(arguments, signatures, strict=True):
        assert len(leaves(signature)) == len(flattened((argument,))[1])
    for argument in (None, "a", 1 << 63, x.T, x[:, ::2], x.astype(">i4"), [1], np.zeros(2, np.complex64)):
        assert flattened((argument,))[0] == machine_code.NO_SIGNATURE


def test_object_code_that_needs_others() -> None:
    with pytest.raises(machine_code.Unsupported):
        undefined_symbols(b"\xcf\xfa\xed\xfe")
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 40, 1 << 40)
    struct.pack_into("<HH", header, 58, 64, 3)
    with pytest.raises(machine_code.Unsupported):
        undefined_symbols(bytes(header))
    assert not machine_code._in_process(["memcpy", "NRT_MemInfo_alloc"])


def test_pickled_by_name() -> None:
    from obverse.coding import rans

    assert pickle.loads(pickle.dumps(rans.pop_lanes)) is rans.pop_lanes
    assert rans.pop_lanes.__doc__ and rans.pop_lanes.__name__ == "pop_lanes"
    assert "pop_lanes" in repr(rans.pop_lanes)
