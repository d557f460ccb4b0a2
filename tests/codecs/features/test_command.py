"""`obverse compress-features` and `obverse train features`: from files and images to features and back."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from PIL import Image
from safetensors.numpy import load_file, save_file

import obverse
from obverse.cli import run
from obverse.cli.console import UsageError
from obverse.codecs.features.command import compress_features
from obverse.codecs.features.view import FeatureView
from obverse.container import describe
from obverse.errors import InputError, ModelError, OutputExistsError, WrongModelError

ENCODER = """
import numpy as np
def colours(images):
    return np.stack([np.concatenate([i.reshape(-1, 3).mean(0), i.reshape(-1, 3).std(0)]) for i in images])
colours.fingerprint = bytes(32)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)


def features(n=400, d=8, seed=0):
    mixing = np.random.default_rng(7).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing).astype(np.float32)


def test_there_and_back(tmp_path, capsys):
    x = features()
    np.save("x.npy", x)
    assert compress_features([tmp_path / "x.npy"], loss=0.02, metadata=["set=a"], json=True) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["bytes_out"] == (tmp_path / "x.obv").stat().st_size and row["bytes_in"] == x.nbytes + 128
    assert 0 < row["variance_lost"] <= 0.0205 and row["vectors"] == 400 and row["model"] == "in the file"
    assert run(["decompress", "x.obv", "-o", "y.npy"]) == 0
    assert run(["decompress", "x.obv", "-o", "y.safetensors"]) == 0
    y = np.load("y.npy")
    assert np.square(x - y).sum() / np.square(x - x.mean(0)).sum() == pytest.approx(row["variance_lost"])
    np.testing.assert_array_equal(load_file("y.safetensors")["features"], y)
    np.testing.assert_array_equal(obverse.decompress("x.obv"), y)
    assert describe("x.obv")["metadata"] == {"set": "a"}
    with pytest.raises(OutputExistsError):
        compress_features([tmp_path / "x.npy"])
    capsys.readouterr()
    assert compress_features([tmp_path / "x.npy"], bits=20.0, force=True) == 0
    assert "bits a vector" in capsys.readouterr().out
    assert (tmp_path / "x.obv").stat().st_size * 8 <= 20 * 400


def test_the_command_line_itself(tmp_path, capsys):
    app = App(result_action="return_value")
    app.command(compress_features)
    np.save("x.npy", features())
    (tmp_path / "out").mkdir()
    assert app(["compress-features", "x.npy", "--lmbda", "0.5", "--distortion", "l1", "-o", "out/"]) == 0
    assert (tmp_path / "out" / "x.obv").exists() and "of the variance lost" in capsys.readouterr().out
    assert (
        run(["train", "features", "--data", "x.npy", "--data", "x.npy", "--out", "m", "--loss", "0.1"]) == 0
    )
    assert (tmp_path / "m" / "config.json").exists() and "bits a vector" in capsys.readouterr().out


def test_standard_input_and_output(tmp_path):
    x = features()
    np.save("x.npy", x)
    main = "from obverse.cli import main; main()"
    command = [sys.executable, "-c", main, "compress-features", "-", "-o", "-"]
    done = subprocess.run(command, input=(tmp_path / "x.npy").read_bytes(), capture_output=True, timeout=120)
    assert done.returncode == 0 and b"of the variance lost" in done.stderr
    assert compress_features([tmp_path / "x.npy"], output="x.obv") == 0
    assert done.stdout == (tmp_path / "x.obv").read_bytes() and not (tmp_path / "-").exists()
    with pytest.raises(UsageError, match="needs an --output"):
        compress_features([Path("-")])


def test_modules_of_the_working_folder(tmp_path):
    """As an installed command sees them: without the working folder in its path."""
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save("photos/a.png")
    code = "import sys; sys.path = [p for p in sys.path if p]; from obverse.cli import run; sys.exit(run(sys.argv[1:]))"
    words = ["compress-features", "photos", "--encoder", "mine:colours"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert FeatureView("photos.obv").shape == (1, 6)


def test_general_compress_knows_features(capsys):
    np.save("x.npy", features())
    assert run(["compress", "--codec", "features", "x.npy"]) == 0
    assert obverse.decompress("x.obv").shape == (400, 8)


def test_a_model_for_many_files(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        save_file({"features": features(seed=seed), "other": features()}, f"{name}.safetensors")
    data = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    words = ["train", "features", *(f"--data={path}" for path in data), "--out", "model"]
    assert run([*words, "--bits", "15", "--key", "features", "--encoder", "mine:colours", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["vectors"] == 800 and 14 < facts["bits"] <= 15.1
    source = tmp_path / "c.safetensors"
    assert compress_features([source], model="model", key="features", encoder="mine:colours", json=True) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["model"] == facts["fingerprint"] and row["encoder"] == bytes(32).hex()
    assert row["bits_per_vector"] < 25
    assert run(["decompress", "c.obv", "--model", "model"]) == 0
    with FeatureView("c.obv", model="model", encoder=bytes(32)) as view:
        np.testing.assert_allclose(view[:], np.load("c.npy"), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="fixes how much"):
        compress_features([source], model="model", key="features", loss=0.1, force=True)
    (tmp_path / "mine.py").write_text(ENCODER.replace("bytes(32)", "bytes(range(32))"))
    import importlib

    import mine

    importlib.reload(mine)
    with pytest.raises(WrongModelError, match="mine:colours"):
        compress_features([source], model="model", key="features", encoder="mine:colours", force=True)


def test_from_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02}.png")
    np.save("images.npy", images)
    centres = {"dark": np.zeros(6) + 1, "light": np.full(6, 200.0)}
    save_file({k: v.astype(np.float32) for k, v in centres.items()}, "prototypes.safetensors")
    for source in ("photos", "images.npy"):
        compress_features([tmp_path / source], encoder="mine:colours", batch=7, loss=0.001,
            prototypes=tmp_path / "prototypes.safetensors",
        )  # fmt: skip
    assert (tmp_path / "photos.obv").read_bytes() == (tmp_path / "images.obv").read_bytes()
    with FeatureView("photos.obv") as view:
        assert view.prototypes.names == ("dark", "light") and view.labels().shape == (30,)
        expected = images.reshape(30, -1, 3)
        np.testing.assert_allclose(view[:], np.concatenate([expected.mean(1), expected.std(1)], 1), atol=6)
    np.save("centres.npy", np.stack(list(centres.values())))
    (tmp_path / "names.txt").write_text("dark\n\nlight\n")
    compress_features([tmp_path / "photos"], encoder="mine:colours", prototypes=tmp_path / "centres.npy",
        classes=tmp_path / "names.txt", force=True,
    )  # fmt: skip
    with FeatureView("photos.obv") as view:
        assert view.prototypes.names == ("dark", "light")
    compress_features([tmp_path / "photos"], encoder="mine:colours", prototypes=tmp_path / "prototypes.safetensors",
        classes=tmp_path / "names.txt", output="sub.obv",
    )  # fmt: skip
    assert (tmp_path / "sub.obv").exists()


def test_wrong_use(tmp_path, capsys):
    np.save("x.npy", features())
    (tmp_path / "folder").mkdir()
    (tmp_path / "twice.txt").write_text("a\na\n")
    (tmp_path / "names.txt").write_text("a\nb\n")
    np.save("three.npy", features(3))
    np.save("wide.npy", features(20, 9))
    x = tmp_path / "x.npy"
    for options in (
        {"loss": 0.1, "bits": 3.0}, {"size": 3}, {"classes": tmp_path / "names.txt"}, {"batch": 0},
        {"prototypes": tmp_path / "three.npy"}, {"metadata": ["novalue"]},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            compress_features([x], **options)
    with pytest.raises(InputError, match="with an --encoder"):
        compress_features([tmp_path / "folder"])
    for options in (
        {"classes": tmp_path / "twice.txt"}, {"classes": tmp_path / "missing.txt"}, {"encoder": "missing.pt"},
        {"key": "a"},
        {"prototypes": tmp_path / "three.npy", "classes": tmp_path / "names.txt"}, {"model": "missing"},
        {"encoder": "mine:colours", "mean": [0.5, 0.5]},
    ):  # fmt: skip
        with pytest.raises((InputError, ModelError)):
            compress_features([x], **options)
    words = ["train", "features", "--data", str(x), "--out", "m"]
    for more, code, sentence in (
        (["--loss", "0.1", "--lmbda", "0.1"], 2, "give one of lmbda, bits and loss"),
        (["--seed", "-1"], 2, "--seed must be"),
        (["--size", "8"], 2, "give an encoder"),
        (["--data", "wide.npy"], 3, "differ"),
    ):
        assert run([*words, *more]) == code
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nan.npy"], 3, "2 of 400 vectors hold NaN or infinite values, the first is number 7"),
        (["nan.safetensors"], 3, "the first is number 7"),
        (["empty.npy"], 3, "there are no features"),
        (["int.npy"], 4, "not int32"),
        (["cube.npy"], 4, "one vector a row"),
        (["ragged.npy"], 3, "not a .npy array of numbers"),
        (["wide.npy", "--model", "model"], 4, "the model is for vectors of 8 numbers, these have 9"),
        (["x.npy", "--model", "model", "--encoder", "mine:others"], 16, "mine:colours"),
        (["photos", "--encoder", "mine:others", "--model", "model"], 16, "mine:colours"),
        (["x.npy", "--model", "gone"], 8, "gone"),
        (["nothing", "--encoder", "mine:colours"], 3, "is empty"),
        (["photos", "--encoder", "mine:broken"], 3, "NaN or infinite"),
        (["photos", "--encoder", "mine:flat"], 3, "a vector an image"),
        (["photos", "--encoder", "mine:colours", "--mean", "0.5", "--std", "0"], 3, "deviations"),
        (["gone.npy"], 3, "there is no file"),
        (["mine.py"], 3, "holds no features"),
        (["x.npy", "--bits", "0"], 2, "bits"),
        (["x.npy", "--loss", "nan"], 2, "loss"),
        (["x.npy", "--chunk", "0"], 2, "chunk must be a whole number from 1 to 65536"),
    ],
)
def test_bad_input_is_a_sentence_and_an_exit_code(tmp_path, words, code, sentence, capsys):
    x = features()
    bad = x.copy()
    bad[7, 2], bad[300, 0] = np.nan, np.inf
    save_file({"features": bad}, "nan.safetensors")
    for name, array in (
        ("x", x), ("nan", bad), ("empty", x[:0]), ("int", x.astype(np.int32)), ("cube", x.reshape(50, 8, 8)),
        ("wide", features(400, 9)),
    ):  # fmt: skip
        np.save(f"{name}.npy", array)
    np.save("ragged.npy", np.array([x[0], x[1, :3]], object), allow_pickle=True)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save("photos/a.png")
    (tmp_path / "mine.py").write_text(
        ENCODER + "def others(images):\n    return np.zeros((len(images), 8))\n"
        "others.fingerprint = bytes(range(32))\n"
        "def broken(images):\n    return np.full((len(images), 8), np.nan)\n"
        "def flat(images):\n    return np.zeros(8)\n"
    )
    import importlib

    import mine

    importlib.reload(mine)
    words_of_model = ["train", "features", "--data", "x.npy", "--out", "model", "--loss", "0.1"]
    assert run([*words_of_model, "--encoder", "mine:colours"]) == 0
    before = sorted(tmp_path.rglob("*.obv"))
    assert run(["compress-features", *words]) == code
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*.obv")) == before
