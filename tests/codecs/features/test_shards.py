"""Several files of features as one set, read piece by piece: the same file as one array gives, in bounded memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from obverse.cli import run
from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import Target
from obverse.codecs.features.view import FeatureView
from obverse.container import read, write
from obverse.container.spool import ItemSpool
from obverse.data import feature_files
from obverse.data.feature_files import FeatureArray, FeatureFiles, open_features, survey
from obverse.errors import InputError, ObverseError, UnsupportedInputError

N, D = 1000, 12


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(feature_files, "AT_ONCE", 4 * D * 300)  # many pieces


def features(n: int = N, seed: int = 0, dtype=np.float32) -> np.ndarray:
    mixing = np.random.default_rng(7).normal(size=(D, D))
    return (np.random.default_rng(seed).normal(size=(n, D)) @ mixing).astype(dtype)


def parquet(path: str, x: np.ndarray, wide: bool = False, fixed: bool = False) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    if wide:
        table = pa.table({f"x{i}": column for i, column in enumerate(x.T)})
    elif fixed:
        table = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])})
    else:
        table = pa.table({"x": list(x), "name": ["n"] * len(x)})
    pq.write_table(table, path, row_group_size=170)


@pytest.mark.parametrize("with_parquet", [False, True])
def test_shards_of_every_kind_are_one_set(tmp_path, capsys, with_parquet):
    x = features()
    np.save("whole.npy", x)
    (tmp_path / "shards").mkdir()
    np.save("shards/a.npy", x[:90])
    np.save("shards/b.npy", np.asfortranarray(x[90:300]))
    np.savez("shards/c.npz", x=x[300:301])
    np.savez_compressed("shards/d.npz", x=x[301:400])
    save_file({"x": x[400:650]}, "shards/e.safetensors")
    names = [f"shards/{name}" for name in ("a.npy", "b.npy", "c.npz", "d.npz", "e.safetensors")]
    if with_parquet:
        parquet("shards/f.parquet", x[650:800])
        parquet("shards/g.parquet", x[800:900], wide=True)
        parquet("shards/h.parquet", x[900:], fixed=True)
        names += [f"shards/{name}.parquet" for name in "fgh"]
    else:
        np.save("shards/f.npy", x[650:])
        names.append("shards/f.npy")
    (tmp_path / "shards" / ".hidden.npy").write_bytes(b"no")
    (tmp_path / "shards" / "notes.txt").write_text("no")
    assert run(["compress-features", "whole.npy", "--loss", ".03"]) == 0
    assert run(["compress-features", "shards", "--loss", ".03"]) == 0
    assert run(["compress-features", *names, "-o", "named.obv", "--loss", ".03"]) == 0
    whole = (tmp_path / "whole.obv").read_bytes()
    assert (tmp_path / "shards.obv").read_bytes() == (tmp_path / "named.obv").read_bytes() == whole
    assert whole == write(FeatureCodec().encode(x, FeatureCodec.options(loss=0.03)))
    capsys.readouterr()
    assert run(["compress-features", *reversed(names), "-o", "other.obv", "--loss", ".03", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["vectors"] == N and row["input"] == names[::-1]
    with FeatureView("other.obv") as view:
        assert np.square(view[-90:] - x[:90]).sum() < 0.04 * np.square(x[:90]).sum()
    assert run(["train", "features", "--data", "shards", "--out", "of-shards"]) == 0
    assert run(["train", "features", "--data", "whole.npy", "--out", "of-whole"]) == 0
    assert (
        len({(tmp_path / f"of-{n}" / "model.safetensors.xz").read_bytes() for n in ("shards", "whole")}) == 1
    )
    assert run(["compress-features", "shards", "-o", "m.obv", "--model", "of-whole", "--chunk", "77"]) == 0
    with FeatureView("m.obv", model=tmp_path / "of-shards") as view:
        assert view.shape == (N, D) and view.chunk == 77


@pytest.mark.parametrize(
    "options", [{"bits": 60.0}, {"lmbda": 0.1, "distortion": "l1"}, {"standardise": True}]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_pieces_change_nothing(options, dtype):
    x = features(dtype=dtype)
    np.save("a.npy", x[:333])
    np.save("b.npy", x[333:].astype(x.dtype.newbyteorder(">")))
    rows = FeatureFiles([open_features(path) for path in map(Path, ("a.npy", "b.npy"))][:1])
    assert rows.shape == (333, D)
    codec = FeatureCodec()
    wanted = write(codec.encode(x[:333], codec.options(**options)))
    with ItemSpool() as spool:
        encoded = codec.encode_rows(rows, codec.options(**options), spool)
        assert b"".join(spool.parts(encoded.container)) == wanted
        assert spool.file_bytes(encoded.container) == len(wanted)
    decoded = codec.decode(read(wanted)).astype(float)
    exact = x[:333].astype(float)
    lost = np.square(exact - decoded).sum() / np.square(exact - exact.mean(0)).sum()
    assert encoded.lost == pytest.approx(lost, rel=1e-6)


def test_big_endian_numbers_are_numbers():
    np.save("big.npy", features().astype(">f4"))
    assert run(["compress-features", "big.npy"]) == 0
    with FeatureView("big.obv") as view:
        assert view.dtype == np.float32 and np.abs(view[:] - features()).max() < 3


def test_bfloat16_is_read_as_float32():
    import torch
    from safetensors.torch import save_file as save_torch

    x = torch.from_numpy(features(50)).bfloat16()
    save_torch({"x": x}, "brain.safetensors")
    rows = open_features(Path("brain.safetensors"))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(list(rows.pieces(7))), x.float().numpy())


def test_survey_sees_all_and_keeps_what_was_chosen():
    x = features()
    chosen = np.array([0, 5, 299, 300, 999])
    seen = survey(FeatureArray(x), chosen)
    np.testing.assert_array_equal(seen.sample, x[chosen])
    np.testing.assert_allclose(seen.mean, x.mean(0, dtype=float))
    x[7, 2] = x[700, 0] = np.nan
    with pytest.raises(
        InputError, match="2 of 1000 vectors hold NaN or infinite values, the first is number 7"
    ):
        survey(FeatureArray(x), slice(0, 0))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: np.save("b.npy", features()[:, :5]), "b.npy holds vectors of 5 float32, a.npy of 12 float32"),
        (lambda: np.save("b.npy", features(dtype=np.float16)), "differ in length or type"),
        (lambda: np.save("b.npy", features()[:0]), "empty"),
        (lambda: np.save("b.npy", features()[0]), "one vector a row"),
        (lambda: np.save("b.npy", features().astype(np.int32)), "not int32"),
        (lambda: Path("b.npy").write_bytes(npy()[:-5]), "b.npy"),
        (lambda: Path("b.npy").write_bytes(npy() + b"more"), "behind its array"),
        (lambda: Path("b.npy").write_bytes(npy()[:20]), "b.npy"),
        (lambda: Path("b.npy").write_bytes(b"PK\x03\x04" + bytes(80)), "b.npy cannot be read"),
        (lambda: Path("b.npy").write_bytes(b"PAR1" + bytes(80)), "b.npy cannot be read"),
        (lambda: Path("b.npy").write_bytes(b"\xff" * 8 + b"{}"), "damaged safetensors"),
        (lambda: Path("b.npy").write_bytes((2).to_bytes(8, "little") + b"{}"), "none"),
        (lambda: Path("b.npy").write_bytes(b"text"), "holds no features"),
        (lambda: np.savez("b.npy.npz", x=features(), y=features()), "no file b.npy"),
    ],
)  # fmt: skip
def test_what_is_no_shard_is_told(make, sentence, capsys):
    if sentence.startswith("b.npy cannot"):
        pytest.importorskip("pyarrow")
    np.save("a.npy", features())
    make()
    code = run(["compress-features", "a.npy", "b.npy", "-o", "x.obv"])
    assert code in (InputError.exit_code, UnsupportedInputError.exit_code)
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not Path("x.obv").exists() and not list(Path().glob(".obverse*"))


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, features(50))
    return buffer.getvalue()


def test_keys_of_several_arrays(capsys):
    np.savez("a.npz", x=features(), y=features(seed=1))
    assert run(["compress-features", "a.npz"]) == InputError.exit_code
    assert "holds 2 arrays: name one with --key (there are: x, y)" in capsys.readouterr().err
    assert run(["compress-features", "a.npz", "--key", "y"]) == 0
    np.save("y.npy", features(seed=1))
    assert run(["compress-features", "y.npy"]) == 0
    assert Path("a.obv").read_bytes() == Path("y.obv").read_bytes()


def test_wrong_use_of_several(tmp_path, capsys):
    np.save("a.npy", features())
    (tmp_path / "empty").mkdir()
    for words, code, sentence in (
        (["a.npy", "a.npy"], 2, "need an --output"),
        (["a.npy", "a.npy", "-o", "empty/"], 2, "name the file"),
        (["-", "-", "-o", "x"], 2, "once only"),
        (["empty", "-o", "x"], 3, "holds no files of features"),
    ):
        assert run(["compress-features", *words]) == code
        assert sentence in capsys.readouterr().err
    assert run(["compress-features", "a.npy", "a.npy", "-o", "x.obv"]) == 0
    with FeatureView("x.obv") as view:
        np.testing.assert_array_equal(view[:N], view[N:])


MEASURE = """
import resource, sys
import numpy as np
from obverse.cli import run
np.save("small.npy", np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32))
def peak(words):
    assert run(["compress-features", *words, "--force"]) == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak(["small.npy"])
print(peak(sys.argv[1:]) - before, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units")
def test_memory_does_not_grow_with_the_input():
    """102 MB of float32, of which the fit's 50,000 vectors take 13: the peak was 11 times the input once."""
    rng = np.random.default_rng(0)
    whole = np.lib.format.open_memmap("big.npy", "w+", np.float32, (400_000, 64))
    mixing = rng.normal(size=(64, 64)) * np.exp(-np.arange(64) / 8)
    for first in range(0, len(whole), 20_000):
        whole[first : first + 20_000] = rng.normal(size=(20_000, 64)) @ mixing.T
    whole.flush()
    del whole
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "big.npy", "-o", "big.obv"],
        capture_output=True,
        text=True,
        check=True,
    )
    kilobytes = int(done.stderr.split()[-1])
    assert kilobytes < 90_000, f"{kilobytes} kB more than for a small set"
    with FeatureView("big.obv") as view:
        assert view.shape == (400_000, 64)


# -- features that the model does not fit ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_never_more_than_the_vectors_as_they_are(dtype, count):
    x = features(count, dtype=dtype)
    for options in ({}, {"loss": 1e-5}, {"chunk": 1}):
        container = FeatureCodec().encode(x, FeatureCodec.options(**options))
        blob = write(container)
        items = sum(len(item) for item in container.items)
        assert len(blob) <= x.nbytes + 64 + 60 and items <= x.nbytes + 64  # 60: the front, at most
        decoded = FeatureCodec().decode(read(blob))
        assert np.square(x.astype(float) - decoded).sum() <= 0.02 * np.square(x.astype(float)).sum() + 1e-9
        with FeatureView(blob) as view:
            np.testing.assert_array_equal(view[:], decoded)
            np.testing.assert_array_equal(view[[count - 1, 0]], decoded[[count - 1, 0]])


def test_vectors_of_another_encoder_are_stored(tmp_path):
    """By a stored model that is for much smaller numbers: some items fit, others do not."""
    x = features()
    stored, _ = fit_model(x, tmp_path / "mine", Target(loss=0.0001))
    wild = (features(seed=3) * 1e6).astype(np.float32)
    both = np.concatenate([x[:256], wild[:300]])
    codec = FeatureCodec(stored)
    with pytest.warns(UserWarning, match=r"does not fit.*2 of 3 items are stored without it"):
        blob = write(codec.encode(both))
    container = read(blob)
    assert container.version == 2 and container.config[6] == 2 and len(blob) < both.nbytes + 64 + 60
    decoded = codec.decode(container)
    np.testing.assert_array_equal(decoded[256:], wild[:300])
    with FeatureView(blob, model=tmp_path / "mine") as view:
        np.testing.assert_array_equal(view[:], decoded)
        np.testing.assert_array_equal(view[555], wild[299])
    back, missing = codec.recover(blob)
    assert not missing and np.array_equal(back, decoded)
    from dataclasses import replace

    items = container.items
    for config, changed in (
        ({6: 3}, items), ({6: 0}, items), ({6: True}, items), ({6: 1}, items),
        ({}, (items[0], items[1][:-1], items[2])), ({}, (items[0], b"", items[2])),
        ({}, (items[0], b"\x02" + items[1][1:], items[2])),
        ({}, (items[0], items[1][:1] + b"\xff" * (len(items[1]) - 1), items[2])),
    ):  # fmt: skip
        with pytest.raises(ObverseError):
            codec.decode(replace(container, config=container.config | config, items=changed))
    with pytest.raises(ObverseError):
        codec.decode(replace(container, version=1))


def test_the_file_at_fault_is_named(tmp_path, capsys):
    """Of shards; and the number of the vector in it."""
    bad = features(40)
    bad[7, 3] = bad[9, 0] = np.nan
    large = features(40, dtype=np.float64)
    large[5, 5] = 1e200
    wide = np.hstack([features(40), features(40)])
    good = Path("good.npy")
    np.save(good, features(400))
    for faulty, words in (
        (bad, "2 of 840 vectors hold NaN or infinite values, the first is number 7 of faulty.npy"),
        (features(0), "faulty.npy: there are no features: the array is empty"),
        (features().astype(int), "faulty.npy: features are float16, float32 or float64, not int64"),
        (features()[None], "faulty.npy: features are one vector a row"),
        (wide, "faulty.npy holds vectors of 24 float32, good.npy of 12 float32"),
    ):
        np.save("faulty.npy", faulty)
        assert run(["compress-features", "good.npy", "faulty.npy", "good.npy", "-o", "x.obv"]) in (3, 4)
        assert words in capsys.readouterr().err
    np.save("good.npy", features(400, dtype=np.float64))
    np.save("faulty.npy", large)
    assert run(["compress-features", "good.npy", "faulty.npy", "-o", "x.obv"]) == 3
    assert "above 1e100 cannot be coded, as in number 5 of faulty.npy" in capsys.readouterr().err
    assert not Path("x.obv").exists()


def test_vectors_of_another_width_than_the_model_s_name_the_file(tmp_path, capsys):
    fit_model(features(), tmp_path / "model")
    np.save("wide.npy", np.hstack([features(40), features(40)]))
    assert run(["compress-features", "wide.npy", "--model", "model"]) == 4
    assert "wide.npy: the model is for vectors of 12 numbers, these have 24" in capsys.readouterr().err


def test_a_photo_is_no_features(tmp_path, capsys):
    from PIL import Image

    Image.new("RGB", (9, 9)).save("photo.png")
    assert run(["compress-features", "photo.png"]) == 3
    assert (
        "photo.png holds no features" in (said := capsys.readouterr().err)
        and "made with an --encoder" in said
    )
    for codec in ("features", "wyner-ziv", "vae-mnist", "plug-and-play", "invariant"):
        assert run(["compress", "photo.png", "--codec", codec]) == 3
        said = capsys.readouterr().err
        assert "photo.png" in said and "an image file is coded by the codecs image and image-lossless" in said
