import csv
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.errors import (
    CodecNameError,
    InputError,
    MissingExtraError,
    OptionError,
    OutputError,
    UnsupportedInputError,
)
from obverse.evaluation import (
    Coder,
    Row,
    bd_rates,
    classical,
    evaluate,
    markdown_table,
    ours,
    summarise,
    write_report,
)
from obverse.evaluation.coders import LOSSY
from obverse.evaluation.rates import read_rgb
from obverse.metrics.distortion import psnr


def photo(height=64, width=96, seed=0):
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    for axis in (0, 1):
        for _ in range(6):
            noise = noise + np.roll(noise, 1, axis)
    noise /= np.abs(noise).max()
    return (128 + 120 * noise).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for k in range(2):
        Image.fromarray(photo(seed=k)).save(path / f"{k}.png")
    return path


def fast(name="jpeg", qualities=(20, 50, 75, 90)):
    return replace(classical(name), settings=tuple({"quality": quality} for quality in qualities))


def made_up_rows(codec="image", factor=1.0):
    """Two images, five qualities; image b takes twice the bits of a and is 2 dB worse."""
    return [
        Row(image, codec, q, 1000 * q, factor * bits * 0.1 * 2**q, 30 + 3 * q - 2 * bits, 0.9, 0.5, 0.25)
        for q in range(5)
        for image, bits in (("a.png", 1), ("b.png", 2))
    ]


# --- peers


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_peer_files_are_of_their_format_and_grow_with_quality(name):
    peer = classical(name)
    image = photo()
    assert peer.name == name and 8 <= len(peer.settings) <= 10
    files = [peer.encode(image, s) for s in (peer.settings[0], peer.settings[4], peer.settings[-1])]
    assert len(files[0]) < len(files[1]) < len(files[2])
    decoded = [peer.decode(file, image) for file in files]
    assert all(d.shape == image.shape and d.dtype == np.uint8 for d in decoded)
    gray = peer.decode(peer.encode(image[:, :, 0], peer.settings[-1]), image[:, :, 0])
    assert gray.shape == image.shape[:2]
    quality = [psnr(image, d) for d in decoded]
    assert quality[0] < quality[1] < quality[2]
    magic = {"jpeg": (0, b"\xff\xd8\xff"), "webp": (8, b"WEBP"), "avif": (4, b"ftypavif")}
    at, expected = magic[name]
    assert files[0][at : at + len(expected)] == expected


def test_avif_keeps_full_chroma():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    avif, jpeg = classical("avif"), classical("jpeg")
    kept = psnr(stripes, avif.decode(avif.encode(stripes, {"quality": 90}), stripes))
    subsampled = psnr(stripes, jpeg.decode(jpeg.encode(stripes, {"quality": 92}), stripes))
    assert kept > 30 > 15 > subsampled


def test_unknown_peer_lists_the_known():
    with pytest.raises(InputError, match=r"'heic'.*jpeg, webp, avif, jxl"):
        classical("heic")
    assert tuple(LOSSY) == ("jpeg", "webp", "avif", "jxl")


def test_jxl_without_its_plugin(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # makes the import fail
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[jxl\]'"):
        classical("jxl")
    with pytest.raises(MissingExtraError):
        evaluate(folder, codec=None, against=["jxl"], failures=[])


def test_jxl_where_installed():
    pytest.importorskip("pillow_jxl")
    peer, image = classical("jxl"), photo()
    small, large = (peer.encode(image, {"quality": quality}) for quality in (30, 90))
    assert len(small) < len(large)
    assert psnr(image, peer.decode(large, image)) > 30


def test_a_pillow_without_avif(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(MissingExtraError, match="without avif"):
        classical("avif")
    assert classical("jpeg").name == "jpeg"


# --- runner


def test_rows_measure_the_real_file(folder):
    calls = []
    rows = evaluate(
        folder, codec=None, against=[fast(), fast("webp", (30,))], progress=lambda *a: calls.append(a)
    )
    assert [(r.image, r.codec, r.quality) for r in rows[:5]] == [
        *[("0.png", "jpeg", q) for q in (20, 50, 75, 90)],
        ("0.png", "webp", 30),
    ]
    assert calls == [(k, 10) for k in range(1, 11)]
    peer = fast()
    for row in rows:
        if row.codec == "jpeg":
            original = np.asarray(Image.open(folder / row.image))
            data = peer.encode(original, {"quality": row.quality})
            assert row.bytes == len(data)
            assert row.bpp == 8 * len(data) / (64 * 96)
            assert row.psnr == psnr(original, peer.decode(data, original))
        assert math.isnan(row.ms_ssim)  # 64 x 96 is too small for it
        assert row.encode_seconds >= 0 and row.decode_seconds >= 0


def test_ms_ssim_is_measured_on_request(tmp_path):
    Image.fromarray(photo(176, 176)).save(tmp_path / "a.png")
    (on,) = evaluate([tmp_path / "a.png"], None, against=[fast(qualities=(90,))])
    (off,) = evaluate([tmp_path / "a.png"], None, against=[fast(qualities=(90,))], metrics=())
    assert 0.9 < on.ms_ssim < 1
    assert math.isnan(off.ms_ssim)
    assert math.isnan(on.ssimulacra2) and math.isnan(on.lpips)
    (seen,) = evaluate([tmp_path / "a.png"], None, against=[fast(qualities=(90,))], metrics=["ssimulacra2"])
    assert 50 < seen.ssimulacra2 < 100 and seen.psnr == on.psnr
    with pytest.raises(
        InputError, match="unknown metric 'ssim'; known are psnr, ms-ssim, ssimulacra2, lpips"
    ):
        evaluate([tmp_path / "a.png"], None, against=["jpeg"], metrics=["ssim"])


def test_options_of_peers_and_of_our_own(tmp_path):
    image = photo(96, 96)
    plain, finer = (
        classical(name).encode(image, {"quality": 50}) for name in ("jpeg", "jpeg:subsampling=444")
    )
    assert len(finer) > len(plain)
    small, tuned = (classical(f"avif:speed=8{more}") for more in ("", ":tune=psnr"))
    assert small.name == "avif:speed=8"
    assert small.encode(image, {"quality": 50}) != tuned.encode(image, {"quality": 50})
    with pytest.raises(
        OptionError, match="the peer avif has no option 'effort'; it has speed, subsampling, tune"
    ):
        classical("avif:effort=3")
    with pytest.raises(OptionError, match="method of the peer webp is one of 0, 1, 2, 3, 4, 5, 6, not '7'"):
        classical("webp:method=7")
    with pytest.raises(OptionError, match="'fast' is no option in 'avif:fast'"):
        classical("avif:fast")
    better = ours("image:effort=1", (30,))
    assert better.name == "image:effort=1"
    small = Image.fromarray(image)
    assert better.encode(small, {"quality": 30}) != ours("image", (30,)).encode(small, {"quality": 30})
    for text, sentence in {
        "image:efort=1": "did you mean 'effort'",
        "image:effort=11": "effort must be a whole number from 0 to 9, not 11",
        "image:effort=x": "effort must be a whole number from 0 to 9, not 'x'",
        "image:quality=5": "quality is no option of the codec 'image' where it is compared",
        "image:bpp=2": "bpp is no option of the codec 'image' where it is compared",
        "image:max_bytes=40k": "several values of quality: leave it out",
        "image:max_error=2": "several values of quality: leave it out",
        "features:bits=3": "several values of loss: leave it out",
        "image:foo=2": "'foo'; it has effort, tune, roi, roi_background, alpha_error$",
        "image:tune=eye": "has no tune 'eye'",
    }.items():
        with pytest.raises(OptionError, match=sentence):
            ours(text)
    assert ours("image-lossless:max_error=2").settings == ({},)


def test_options_may_be_of_folders_and_name_files(folder):
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save(folder / "mask.png")
    whole = ours(f"image:roi={folder}/mask.png:effort=0", (30,))
    image = Image.open(folder / "0.png")
    assert whole.encode(image, {"quality": 30}) == ours("image", (30,)).encode(image, {"quality": 30})
    with pytest.raises(CodecNameError, match=r"no folder \./model:"):
        ours("./model:effort=1")
    with pytest.raises(CodecNameError, match=r"no folder \./a:b/model:"):
        ours("./a:b/model")


def test_seconds_are_cpu_time_of_coding_without_the_first_call(folder):
    calls = []

    def encode(image, setting):
        calls.append(setting)
        if len(calls) == 1:
            sum(range(10_000_000))  # a start-up that no row may carry
        return image.tobytes()

    def decode(data, image):
        return np.frombuffer(data, np.uint8).reshape(image.shape)

    raw = Coder("raw", ".raw", ({"quality": 1},), encode, decode)
    rows = evaluate(folder, codec=raw, against=())
    assert len(calls) == 3
    assert [row.psnr for row in rows] == [math.inf, math.inf]
    assert all(row.encode_seconds < 0.02 for row in rows)


def test_an_unreadable_image_is_left_out_and_the_others_go_on(folder):
    (folder / "0a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "notes.txt").write_text("not an image, and not taken for one")
    calls, failures = [], []
    rows = evaluate(folder, None, None, [fast()], failures=failures, progress=lambda *a: calls.append(a))
    assert {row.image for row in rows} == {"0.png", "1.png"}
    assert [f.path.name for f in failures] == ["0a.png"]
    assert "0a.png cannot be read" in str(failures[0].error)
    assert calls[-1] == (8, 8)
    with pytest.raises(InputError, match=r"0a\.png cannot be read"):
        evaluate(folder, None, None, [fast()])
    calls.clear()
    assert not evaluate(
        folder / "0a.png", None, None, [fast()], failures=[], progress=lambda *a: calls.append(a)
    )
    assert calls == []  # nothing was measured


def test_a_truncated_image_and_a_missing_one_are_failures(folder):
    data = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(data[: len(data) // 2])
    failures = []
    rows = evaluate([folder, folder / "gone.png"], None, None, [fast()], failures=failures)
    assert {row.image for row in rows} == {"1.png"}
    assert [f.path.name for f in failures] == ["0.png", "gone.png"]


def test_an_image_that_one_codec_refuses_is_left_out_for_all(folder):
    def picky(image, setting):
        if np.array_equal(image[0, 0], photo(seed=0)[0, 0]):
            raise ValueError("too red")
        return classical("jpeg").encode(image, setting)

    calls, failures = [], []
    codec = Coder("picky", ".p", ({"quality": 50},), picky, classical("jpeg").decode)
    rows = evaluate(
        folder, None, None, [fast(), codec], failures=failures, progress=lambda *a: calls.append(a)
    )
    assert {row.image for row in rows} == {"1.png"}
    assert "picky at quality 50 failed: too red" in str(failures[0].error)
    assert calls == [*((k, 10) for k in range(1, 5)), *((k, 5) for k in range(1, 6))]


def test_metadata_and_orientation_do_not_count(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "x" * 5000
    Image.fromarray(photo()).save(tmp_path / "a.png", exif=exif)
    image = read_rgb(tmp_path / "a.png")
    assert image.shape == (96, 64, 3)
    (row,) = evaluate([tmp_path / "a.png"], None, against=[fast(qualities=(5,))])
    assert row.bytes < 2000


def test_images_of_one_name_are_told_apart(folder, tmp_path):
    (tmp_path / "more").mkdir()
    Image.fromarray(photo(seed=7)).save(tmp_path / "more" / "0.png")
    again = tmp_path / "photos" / ".." / "photos" / "0.png"  # is measured once
    rows = evaluate([folder, tmp_path / "more", again], None, against=[fast()])
    assert [row.image for row in rows[::4]] == ["photos/0.png", "1.png", "more/0.png"]
    rows = [replace(row, bpp=row.bpp / 8) for row in rows]  # below 2 bpp
    worse = [replace(row, codec="worse", bpp=2 * row.bpp) for row in rows]
    (rate,) = (b for b in bd_rates(rows + worse) if (b.metric, b.anchor) == ("psnr", "jpeg"))
    assert rate.images == 3 and rate.percent == pytest.approx(100)


def test_transparent_and_deep_images_are_refused(tmp_path):
    Image.fromarray(np.dstack([photo(), photo()[..., :1]])).save(tmp_path / "alpha.png")
    Image.fromarray(photo()[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    for name in ("alpha.png", "deep.png"):
        with pytest.raises(UnsupportedInputError, match=name):
            read_rgb(tmp_path / name)


def test_wrong_calls(folder, tmp_path):
    with pytest.raises(InputError, match="no image"):
        evaluate([], None, against=["jpeg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image"):
        evaluate([tmp_path / "empty"], None, against=["jpeg"])
    with pytest.raises(InputError, match="different names"):
        evaluate(folder, None, against=["jpeg", "jpeg"])
    with pytest.raises(InputError, match="different names"):
        evaluate(folder, None, against=[])
    with pytest.raises(InputError, match="none was given"):
        evaluate(folder, None, qualities=(1,))
    with pytest.raises(InputError, match="unknown peer"):
        evaluate(folder, None, against=["gif"])


def test_our_codec_is_measured_by_its_files(folder):
    rows = evaluate(folder / "0.png", qualities=(30, 60), against=[])
    assert [(row.codec, row.quality) for row in rows] == [("image", 30), ("image", 60)]
    image = read_rgb(folder / "0.png")
    for row in rows:
        data = obverse.compress(image, quality=row.quality)
        assert row.bytes == len(data)
        assert row.psnr == psnr(image, obverse.decompress(data))


def test_settings_are_those_that_a_codec_declares():
    assert [setting["quality"] for setting in ours("image").settings] == list(range(10, 100, 10))
    assert ours("image", (5, 7.5)).settings == ({"quality": 5}, {"quality": 7.5})
    assert ours("features").option == "loss" and ours("features").files == ("one",)
    assert ours("vae-mnist").settings == ({},) and ours("vae-mnist").files == ("one", "each")
    assert ours("image").files == ("each",) and ours("image").suffix == ".obv"
    with pytest.raises(InputError, match="no quality"):
        ours("image-lossless", (5,))


def test_bd_rates_of_single_images():
    rows = made_up_rows("image", 0.9) + made_up_rows("jpeg")
    rows = [
        replace(row, bpp=row.bpp * 1.1) if (row.codec, row.image) == ("image", "b.png") else row
        for row in rows
    ]
    (rate,) = (b for b in bd_rates(rows) if (b.metric, b.anchor, b.test) == ("psnr", "jpeg", "image"))
    assert rate.images == 2
    assert (rate.best_image, rate.worst_image, rate.median_image) == ("a.png", "b.png", "a.png and b.png")
    assert rate.best == pytest.approx(-10, abs=1e-6) and rate.worst == pytest.approx(-1, abs=1e-6)
    assert rate.mean_of_images == rate.median == pytest.approx(-5.5, abs=1e-6)
    assert -10 < rate.percent < -1


# --- report


def test_summary_averages_over_images():
    first = summarise(made_up_rows())[0]
    assert (first.codec, first.quality, first.images) == ("image", 0, 2)
    assert first.bpp == pytest.approx((0.1 + 0.2) / 2)
    assert first.psnr == pytest.approx((28 + 26) / 2)
    assert first.ms_ssim_db == pytest.approx(10)
    assert (first.encode_seconds, first.decode_seconds) == (0.5, 0.25)
    assert [s.quality for s in summarise(reversed(made_up_rows()))] == [0, 1, 2, 3, 4]


def test_summary_of_ms_ssim_is_over_the_images_that_have_one():
    rows = made_up_rows()[:2]
    rows[1] = replace(rows[1], ms_ssim=math.nan)
    assert summarise(rows)[0].ms_ssim == 0.9
    rows[0] = replace(rows[0], ms_ssim=math.nan)
    assert math.isnan(summarise(rows)[0].ms_ssim) and math.isnan(summarise(rows)[0].ms_ssim_db)


def test_bd_rates_of_every_pair():
    result = bd_rates(made_up_rows("image", 0.9) + made_up_rows("jpeg"))
    found = {(b.metric, b.anchor, b.test): b.percent for b in result}
    assert found["psnr", "jpeg", "image"] == pytest.approx(-10, abs=1e-6)
    assert found["psnr", "image", "jpeg"] == pytest.approx(100 / 9, abs=1e-6)
    assert math.isnan(found["ms_ssim_db", "jpeg", "image"])  # MS-SSIM is the same everywhere: no curve
    assert len(result) == 4
    notes = {b.metric: b.note for b in result}
    assert notes["psnr"] == "" and "has 1 (3 points left out" in notes["ms_ssim_db"]


def test_bd_rates_stop_at_two_bpp():
    inside = made_up_rows("image", 0.8) + made_up_rows("jpeg", 0.8)  # 0.12 to 1.92 bpp
    beyond = [Row("a.png", "image", 9, 10**6, 30.0, 80.0, 0.9, 0.5, 0.25)]
    assert bd_rates(inside + beyond)[0].percent == pytest.approx(0, abs=1e-9)


def test_report_files(tmp_path):
    rows = made_up_rows("image", 0.9) + made_up_rows("jpeg")
    rows[0] = replace(rows[0], ms_ssim=math.nan)
    paths = write_report(iter(rows), tmp_path / "new" / "report")
    assert list(paths) == ["images.csv", "summary.csv", "bd_rates.csv", "rd.png"]
    assert sorted(p.name for p in (tmp_path / "new" / "report").iterdir()) == sorted(paths)  # no temporaries

    def read(name):
        with open(paths[name], newline="") as file:
            return list(csv.DictReader(file))

    images = read("images.csv")
    assert len(images) == 20
    assert images[0] == {
        "image": "a.png",
        "codec": "image",
        "quality": "0",
        "bytes": "0",
        "bpp": "0.09",
        "psnr": "28",
        "ms_ssim": "",
        "encode_seconds": "0.5",
        "decode_seconds": "0.25",
        "ssimulacra2": "",
        "lpips": "",
    }
    summary = read("summary.csv")
    assert [s["codec"] for s in summary] == ["image"] * 5 + ["jpeg"] * 5
    assert [(s["quality"], s["images"]) for s in summary[:2]] == [("0", "2"), ("1", "2")]
    assert float(summary[5]["bpp"]) == pytest.approx(0.15)
    bd = read("bd_rates.csv")
    assert bd[0]["metric"] == "psnr" and {b["percent"] for b in bd} == {"-10", "11.1111", ""}
    with Image.open(paths["rd.png"]) as plot:
        assert plot.format == "PNG" and plot.width > 1.5 * plot.height  # two panels


def test_plot_without_ms_ssim_has_one_panel(tmp_path):
    rows = [replace(row, ms_ssim=math.nan) for row in made_up_rows()]
    with Image.open(write_report(rows, tmp_path)["rd.png"]) as plot:
        assert plot.width < 1.5 * plot.height


def test_report_of_lossless_rows(tmp_path):
    rows = [replace(row, psnr=math.inf, ms_ssim=1.0) for row in made_up_rows()]
    paths = write_report(rows, tmp_path)
    assert "inf" in paths["summary.csv"].read_text()


def test_report_refuses_nothing_and_a_folder_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="nothing was measured"):
        write_report([], tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="cannot be made"):
        write_report(made_up_rows(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_report_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "images.csv").write_text("old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="no space is left"):
        write_report(made_up_rows(), tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("images.csv", "old")]


def test_markdown_table():
    lines = markdown_table([replace(row, ms_ssim=math.nan) for row in made_up_rows()]).splitlines()
    assert len(lines) == 2 + 5
    assert lines[2] == "| image | 0 | 0.150 | 27.00 | – | 0.500 | 0.250 |"
    assert all(line.count("|") == 8 for line in lines)


def test_importing_the_package_needs_neither_torch_nor_matplotlib():
    code = "import sys, obverse.evaluation; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
