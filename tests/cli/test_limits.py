"""`obverse limits`: curves of sources and samples, codecs drawn on them, and what bad input gets."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from obverse.codec import SideInformed
from obverse.container import Container, Limits
from obverse.method import Method
from obverse.theory import gaussian_rate_bits, gaussian_wyner_ziv_rate_bits

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with Gaussian pairs x.npy, y.npy, noise of variance 0.1."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    np.save("y.npy", y)
    np.save("x.npy", y + np.sqrt(0.1) * rng.normal(size=4000))
    return tmp_path


def curves(text: str) -> dict[str, list[tuple[float, float]]]:
    result: dict[str, list[tuple[float, float]]] = {}
    for row in csv.DictReader(text.splitlines()):
        result.setdefault(row["curve"], []).append((float(row["distortion"]), float(row["rate_bits"])))
    return result


def test_gaussian_prints_its_curve(folder: Path, capsys: Capture) -> None:
    assert run(["limits", "--gaussian", "2"]) == 0
    printed = capsys.readouterr()
    points = curves(printed.out)["R(D)"]
    assert len(points) > 10
    for distortion, rate in points:
        assert rate == pytest.approx(gaussian_rate_bits(2, distortion), abs=1e-6)
    assert "exact" in printed.err


def test_gaussian_with_side_information_writes_curve_and_picture(folder: Path, capsys: Capture) -> None:
    arguments = ["limits", "--gaussian", "1.1", "--side-info-noise", "0.1", "--out", "new/folder"]
    assert run(arguments) == 0
    assert run([*arguments, "--force"]) == 0  # again, over its own files
    found = curves((folder / "new/folder/curve.csv").read_text())
    assert list(found) == ["R(D) without side information", "Wyner-Ziv R(D)"]
    for distortion, rate in found["Wyner-Ziv R(D)"]:
        assert rate == pytest.approx(gaussian_wyner_ziv_rate_bits(0.1, distortion), abs=1e-6)
    with Image.open(folder / "new/folder/curve.png") as picture:
        assert picture.format == "PNG" and picture.width > 600
    assert "wrote" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, distortion, low, high",
    [
        (["--bernoulli", "0.3"], 0.0, 0.88129, 0.8813),
        (["--laplace", "1"], 0.5, 0.999, 1.01),
        # without a formula: between Shannon's lower bound and the Gaussian of the same variance
        (["--laplace", "1", "--distortion", "mse"], 0.94, 0.4402, 0.5446),
        # Shannon's lower bound for absolute error, h(X) - log2(2 e D), which is close here
        (["--gaussian", "1", "--distortion", "abs"], 0.4, 0.9264, 0.96),
    ],
)
def test_other_sources(
    folder: Path, capsys: Capture, arguments: list[str], distortion: float, low: float, high: float
) -> None:
    assert run(["limits", *arguments]) == 0
    points = np.array(curves(capsys.readouterr().out)["R(D)"])
    assert low < np.interp(distortion, points[:, 0], points[:, 1]) < high


@pytest.mark.slow
def test_pairs_of_samples(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obverse.cli.limit_curves.RATES_BITS", (0.3, 1.0, 2.0, 3.0))
    assert run(["limits", "--samples", "x.npy", "--side-info", "y.npy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "estimates" in found["note"]
    assert [c["name"] for c in found["curves"]] == [
        "R(D) without side information",
        "Wyner-Ziv R(D)",
        "R(D) with y at both ends",
        "bracket of Wyner-Ziv R(D)",
    ]
    for point in found["curves"][3]["points"]:
        expected = gaussian_wyner_ziv_rate_bits(0.1, point["distortion"])
        assert point["lower_rate_bits"] <= expected <= point["rate_bits"]
    wyner_ziv = next(c for c in found["curves"] if c["name"] == "Wyner-Ziv R(D)")
    for point in wyner_ziv["points"]:
        expected = gaussian_wyner_ziv_rate_bits(0.1, point["distortion"])
        assert point["rate_bits"] == pytest.approx(expected, abs=0.06)


def test_symbols_with_side_information(folder: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, 20_000)
    np.save("s.npy", x)
    np.save("t.npy", x ^ (rng.random(20_000) < 0.25))
    assert run(["limits", "--samples", "s.npy", "--side-info", "t.npy", "--distortion", "hamming"]) == 0
    points = np.array(curves(capsys.readouterr().out)["Wyner-Ziv R(D)"])
    assert np.interp(0.0796, points[:, 0], points[:, 1]) == pytest.approx(0.4678, abs=0.02)


def test_vectors(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obverse.cli.limit_curves.PARTICLES", 200)
    monkeypatch.setattr("obverse.cli.limit_curves.VECTOR_RATES_BITS", (0.5, 2.0))
    np.save("v.npy", np.random.default_rng(0).normal(size=(5000, 2)))
    assert run(["limits", "--samples", "v.npy"]) == 0
    for distortion, rate in curves(capsys.readouterr().out)["R(D), estimate from above"]:
        assert rate == pytest.approx(2 * gaussian_rate_bits(1, distortion / 2), abs=0.12)


def test_points_are_measured_against_the_limit(folder: Path, capsys: Capture) -> None:
    Path("p.csv").write_text("label,rate_bits,distortion\nmine,2.5,0.0625\n")
    assert run(["limits", "--gaussian", "1", "--points", "p.csv"]) == 0
    printed = capsys.readouterr()
    assert "mine: 2.5000 bits at distortion 0.0625, +0.5000 bits from R(D)" in printed.err
    assert curves(printed.out)["mine"] == [(0.0625, 2.5)]


@pytest.mark.parametrize(
    "source, possible, impossible",
    [
        (["--gaussian", "1"], "2.0", "1.9"),
        (["--gaussian", "1.1", "--side-info-noise", "0.1"], "0.4", "0.3"),
        (["--samples", "x.npy", "--side-info", "y.npy"], "0.4", "0.2"),
        (["--samples", "x.npy"], "2.1", "1.9"),
    ],
)
def test_a_point_where_no_code_can_be_is_warned_of(
    folder: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    source: list[str],
    possible: str,
    impossible: str,
) -> None:
    monkeypatch.setattr("obverse.cli.limit_curves.RATES_BITS", (0.3, 1.0, 2.0))
    distortion = "0.0625"
    Path("p.csv").write_text(f"label,rate_bits,distortion\ngood,{possible},{distortion}\n")
    assert run(["limits", *source, "--points", "p.csv"]) == 0
    assert "warning" not in capsys.readouterr().err
    Path("p.csv").write_text(f"label,rate_bits,distortion\nbad,{impossible},{distortion}\n")
    assert run(["limits", *source, "--points", "p.csv"]) == 0
    assert (
        f"warning: bad: {float(impossible):.4f} bits at distortion {distortion} lie below"
        in capsys.readouterr().err
    )


class Rounding(SideInformed):
    """Rounds (x - y) to multiples of a half; a real file, decoded with y."""

    method = Method(
        id="rounding", package=__name__, summary="", data="array", codec=":Rounding", side_info=True
    )

    def encode(self, data, options=None):
        steps = np.round(2 * np.asarray(data)).astype(np.int8)
        return Container(self.id, {}, steps.shape, {"steps": steps.tobytes()})

    def decode(self, container, limits: Limits | None = None, *, side_info=None):
        assert side_info is not None
        return np.frombuffer(container.sections["steps"], np.int8) / 2


@pytest.mark.slow
def test_a_codec_is_run_for_real(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obverse.registry.open_codec", lambda name: Rounding())
    monkeypatch.setattr("obverse.cli.limit_curves.RATES_BITS", (1.0, 2.0))
    assert run(["limits", "--samples", "x.npy", "--side-info", "y.npy", "--codec", "rounding", "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    x = np.load("x.npy")
    assert point["distortion"] == pytest.approx(np.mean((np.round(2 * x) / 2 - x) ** 2))
    assert 8 < point["rate_bits"] < 8.5  # a byte a sample and the header
    assert point["label"] == "rounding"


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "one source"),
        (["--gaussian", "1", "--bernoulli", "0.5"], 2, "one source"),
        (["--gaussian", "0"], 2, "above 0"),
        (["--gaussian", "nan"], 2, "above 0"),
        (["--bernoulli", "1"], 2, "between 0 and 1"),
        (["--bernoulli", "0.3", "--distortion", "mse"], 2, "hamming"),
        (["--gaussian", "1", "--distortion", "psnr"], 2, "mse, abs, hamming"),
        (["--gaussian", "1", "--side-info-noise", "2"], 2, "at most"),
        (["--laplace", "1", "--side-info-noise", "0.5"], 2, "--gaussian"),
        (["--gaussian", "1", "--side-info", "y.npy"], 2, "--samples"),
        (["--gaussian", "1", "--codec", "image"], 2, "--samples"),
        (["--samples", "x.npy", "--sandwich"], 2, "vectors"),
        (["--samples", "none.npy"], 3, "no file"),
        (["--samples", "nan.npy"], 3, "NaN"),
        (["--samples", "constant.npy"], 3, "same"),
        (["--samples", "empty.npy"], 3, "at least"),
        (["--samples", "x.npy", "--side-info", "short.npy"], 3, "one y for each x"),
        (["--samples", "x.npy", "--side-info", "nan.npy"], 3, "finite"),
        (["--samples", "x.npy", "--side-info", "constant.npy"], 3, "constant"),
        (["--samples", "x.npy", "--distortion", "hamming"], 3, "64"),
        (["--samples", "x.npy", "--side-info", "y.npy", "--distortion", "abs"], 4, "mse"),
        (["--samples", "v.npy", "--distortion", "abs"], 4, "mse"),
        (["--samples", "v.npy", "--side-info", "y.npy"], 4, "scalars"),
        (["--samples", "x.npy", "--codec", "no-such-codec"], 8, "no codec"),
        (["--samples", "x.npy", "--codec", "image"], 4, "dtype"),
        (["--gaussian", "1", "--points", "none.csv"], 3, "there is no file none.csv"),
        (["--gaussian", "1", "--points", "bad.csv"], 3, "columns"),
        (["--gaussian", "1", "--points", "bad2.csv"], 3, "line 3"),
        (["--gaussian", "1", "--points", "bad3.csv"], 3, "no points"),
        (["--gaussian", "1", "--out", "x.npy"], 30, "cannot be made"),
    ],
)
def test_bad_input_gets_a_sentence(
    folder: Path, capsys: Capture, arguments: list[str], code: int, words: str
) -> None:
    np.save("nan.npy", np.full(4000, np.nan))
    np.save("constant.npy", np.ones(4000))
    np.save("empty.npy", np.zeros(0))
    np.save("short.npy", np.zeros(10))
    np.save("v.npy", np.random.default_rng(0).normal(size=(4000, 2)))
    Path("bad.csv").write_text("a,b\n1,2\n")
    Path("bad2.csv").write_text("distortion,rate_bits\n1,2\n1,x\n")
    Path("bad3.csv").write_text("distortion,rate_bits\n")
    assert run(["limits", *arguments]) == code
    printed = capsys.readouterr()
    assert words in printed.err and printed.out == ""
