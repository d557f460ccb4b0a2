"""The lossless image codec with its shipped model: every pixel of every kind of image, and damaged files."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import obverse
from obverse.codec import decoded_file
from obverse.codecs.image_lossless import codec as image_lossless
from obverse.codecs.image_lossless import methods as image_methods
from obverse.codecs.image_lossless.codec import ImageLosslessCodec, layout_of
from obverse.container import Container, Limits, read, write
from obverse.container.varint import encode_varint
from obverse.data.images import Photo, read_photo
from obverse.errors import (
    DamagedError,
    InputError,
    LimitError,
    ObverseError,
    OptionError,
    OutputError,
    TruncatedError,
    UnsupportedInputError,
    WrongModelError,
)
from tests.codecs.image_lossless.cases import method_of
from tests.conftest import REPOSITORY, smooth_photo

NAME = "image-lossless"
PHOTO = REPOSITORY / "examples" / "kodim23.png"
OVERHEAD = 64  # bytes that a file may have beyond the raw samples


@pytest.fixture(scope="module")
def codec() -> ImageLosslessCodec:
    return obverse.open_codec(NAME)


def there_and_back(array: np.ndarray) -> bytes:
    """The file, once it is known to give the very same array."""
    data = obverse.compress(array, codec=NAME)
    again = obverse.decompress(data)
    assert again.dtype == array.dtype and again.shape == array.shape
    assert np.array_equal(again, array)
    return data


def drawing(height: int = 120, width: int = 160) -> np.ndarray:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    for i in range(6):
        draw.rectangle((10 + 20 * i, 10, 25 + 20 * i, 100 - 12 * i), fill=(40 * i, 90, 200 - 30 * i))
    for y in range(5, height, 22):
        draw.text((y % 40, y), "every pixel comes back, and nothing else does so often", fill="black")
    return np.asarray(image)


# -- pixels -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 2, 3, 4, 16]), st.integers(1, 256), st.integers(0, 99)
)  # fmt: skip
def test_any_shape_and_any_kind(height, width, kind, values, seed):
    rng = np.random.default_rng(seed)
    if kind == 16:
        array = (rng.integers(0, values, (height, width)) * rng.integers(1, 256)).astype(np.uint16)
    else:
        array = rng.integers(0, values, (height, width, kind)).astype(np.uint8)
    array = array[:, :, 0] if kind == 1 else array
    data = there_and_back(np.ascontiguousarray(array))
    assert len(data) <= array.nbytes + OVERHEAD


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (63, 65), (130, 70)])
@pytest.mark.parametrize("channels", [1, 3])
def test_photos_of_odd_sizes(size, channels):
    there_and_back(smooth_photo(*size, channels=channels))


def test_photos_are_coded_by_the_model_and_beat_webp():
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))[100:300, 200:500]
    for array in (photo, np.ascontiguousarray(photo[:, :, 1])):
        data = there_and_back(array)
        assert method_of(data) == image_methods.RASTER
        webp = io.BytesIO()
        Image.fromarray(array).save(webp, "WEBP", lossless=True, quality=100, method=6)
        assert len(data) < len(webp.getvalue())


def test_16_bits_are_coded_by_the_model():
    rng = np.random.default_rng(0)
    deep = smooth_photo(90, 110, channels=1).astype(np.uint16) * 200 + rng.integers(0, 150, (90, 110)).astype(
        np.uint16
    )
    data = there_and_back(deep)
    assert method_of(data) == image_methods.RASTER and len(data) < 0.9 * deep.nbytes


def test_alpha_is_exact_and_so_are_the_colours_under_it():
    photo = smooth_photo(90, 120)
    alpha = np.zeros((90, 120), np.uint8)
    alpha[20:60, 30:90] = 255
    data = there_and_back(np.dstack([photo, alpha]))
    assert len(data) < len(there_and_back(photo)) + 120
    there_and_back(np.dstack([photo[:, :, 0], alpha]))


def test_colours_that_are_all_grey_cost_as_gray():
    gray = smooth_photo(90, 120, channels=1)
    colour = there_and_back(np.dstack([gray] * 3))
    assert len(colour) <= len(there_and_back(gray)) + 4
    alpha = np.tile(np.arange(120, dtype=np.uint8), (90, 1))
    assert (
        len(there_and_back(np.dstack([gray] * 3 + [alpha])))
        <= len(there_and_back(np.dstack([gray, alpha]))) + 4
    )


def test_the_same_input_gives_the_same_file(photo):
    assert obverse.compress(photo, codec=NAME) == obverse.compress(photo, codec=NAME)


# -- synthetic images -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.full((512, 768, 3), 77, np.uint8),
        np.full((512, 768, 3), [1, 2, 3], np.uint8),
        np.full((3000, 4000, 4), [1, 2, 3, 0], np.uint8),
        np.zeros((2000, 1000), np.uint8),
        np.full((600, 800), 40_000, np.uint16),
        np.full((9, 9, 2), [5, 255], np.uint8),
    ],
    ids=["gray", "colour", "large rgba", "black", "16 bits", "gray alpha"],
)
def test_flat_images_are_tiny(array):
    assert len(there_and_back(array)) < 100


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 4), (5, 3, 3), (64, 64, 4), (200, 300, 3), (150, 100)])
def test_noise_grows_by_at_most_64_bytes(shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(there_and_back(noise)) <= noise.nbytes + OVERHEAD
    if len(shape) == 2:
        deep = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
        assert len(there_and_back(deep)) <= deep.nbytes + OVERHEAD


def test_gradients_are_small():
    y, x = np.mgrid[:256, :384]
    for array in (
        np.dstack([x // 3, y // 2, (x + y) // 5]).astype(np.uint8),
        (x // 2).astype(np.uint8),
        (x * 37 + y * 111).astype(np.uint16),
    ):
        assert len(there_and_back(array)) < 0.01 * array.nbytes


def test_drawings_are_smaller_than_webp():
    array = drawing(240, 400)
    webp = io.BytesIO()
    Image.fromarray(array).save(webp, "WEBP", lossless=True, quality=100, method=6)
    data = there_and_back(array)
    assert method_of(data) == image_methods.PALETTE
    assert len(data) < len(webp.getvalue())
    transparent = np.dstack([array, np.where(array[:, :, 0] == 255, 0, 255).astype(np.uint8)])
    assert len(there_and_back(transparent)) < 1.1 * len(data) + 100


def test_patterns_that_repeat_far_apart_go_through_lzma():
    tile = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    data = there_and_back(np.tile(tile, (6, 4, 1)))
    assert method_of(data) == image_methods.FILTERED and len(data) < 1.1 * tile.nbytes
    deep = np.random.default_rng(0).integers(0, 65536, (32, 64)).astype(np.uint16)
    assert method_of(there_and_back(np.tile(deep, (6, 4)))) == image_methods.FILTERED


def test_many_colours_that_repeat_are_drawn_without_a_palette():
    rng = np.random.default_rng(0)
    array = np.repeat(np.repeat(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), 8, axis=0), 9, axis=1)
    assert method_of(there_and_back(array)) == image_methods.DRAWING


def test_a_sample_decides_what_is_tried(codec):
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))[:, :400]
    assert image_methods._promising(codec.raster, photo) == (True, False)
    text = drawing(400, 400)
    assert image_methods._promising(codec.raster, text) == (False, True)
    both = np.concatenate([photo[:160], text])
    assert image_methods._promising(codec.raster, both)[1]
    wide = np.zeros((1, image_methods.WIDEST + 1, 3), np.uint8)
    assert image_methods._promising(codec.raster, wide) == (False, True)


def test_stripes_are_about_equally_high():
    assert image_lossless.stripe_rows(np.zeros((5000, 5000, 3), np.uint8)) == 5000  # one colour
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000, 1), dtype=np.uint8)
    assert image_lossless.stripe_rows(noise) == 367
    assert image_lossless.stripe_rows(noise[:524]) == 524
    assert image_lossless.stripe_rows(np.repeat(noise, 4, axis=1)) == 550  # drawn: larger ones
    assert image_lossless.stripe_rows(noise.reshape(1, -1, 1)) == 1


# -- stripes ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lossless, "STRIPE_PIXELS", 2000)
    monkeypatch.setattr(image_lossless, "DRAWN_STRIPE_PIXELS", 4000)


def test_large_images_have_stripes(small_stripes):
    for array in (smooth_photo(100, 61), drawing(100, 100), smooth_photo(70, 90, channels=1)):
        container = read(there_and_back(array))
        rows = container.config[1]
        assert len(container.items) == -(-array.shape[0] // rows) > 1


def test_stripes_carry_profile_and_exif(small_stripes, codec):
    photo = Photo(smooth_photo(100, 61), None, b"profile" * 30, b"Exif\0\0" + bytes(range(200)))
    decoded = codec.decode_photo(read(write(codec.encode(photo))))
    assert np.array_equal(decoded.pixels, photo.pixels)
    assert (decoded.icc, decoded.exif) == (photo.icc, photo.exif)


def test_rows_are_read_without_the_rest(small_stripes, codec, tmp_path):
    array = smooth_photo(100, 61)
    data = bytearray(obverse.compress(array, codec=NAME))
    path = tmp_path / "a.obv"
    data[-10] ^= 1  # the last stripe is damaged: nobody asks for it
    path.write_bytes(data)
    rows = read(obverse.compress(array, codec=NAME)).config[1]
    for first, last in ((0, 1), (0, rows), (rows - 1, rows + 1), (5, 60)):
        assert np.array_equal(codec.decode_rows(path, first, last), array[first:last])
    with pytest.raises(DamagedError):
        codec.decode_rows(path, 90, 100)
    for first, last in ((-1, 5), (5, 5), (0, 101)):
        with pytest.raises(InputError, match="no rows"):
            codec.decode_rows(path, first, last)


def test_rows_of_one_stripe_and_of_another_codec(codec, photo):
    data = obverse.compress(photo[:, :, 0], codec=NAME)
    assert np.array_equal(codec.decode_rows(data, 3, 9), photo[3:9, :, 0])
    with pytest.raises(InputError, match="'image'"):
        codec.decode_rows(obverse.compress(photo), 3, 9)


def test_noise_in_many_stripes_is_one_raw_stripe(small_stripes):
    noise = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    data = there_and_back(noise)
    assert len(data) <= noise.nbytes + OVERHEAD and method_of(data) == image_methods.RAW


def test_noise_with_a_small_flat_corner_grows_by_at_most_64_bytes(small_stripes):
    """A few bytes saved in one stripe must not pay for what the container needs for all stripes."""
    noise = np.random.default_rng(1).integers(0, 256, (1200, 50, 3), dtype=np.uint8)
    for side in range(0, 20, 3):
        noise[:side, :side] = 7
        assert len(there_and_back(noise)) <= noise.nbytes + OVERHEAD


def test_a_cut_file_is_recovered_in_part(small_stripes, codec):
    photo = Photo(smooth_photo(100, 61), None, b"profile" * 30)
    data = write(codec.encode(photo))
    pixels, missing = codec.recover(data)
    assert np.array_equal(pixels, photo.pixels) and missing == ["not recovered: icc"]
    rows = read(data).config[1]
    pixels, missing = codec.recover(data[: len(data) * 2 // 3])
    whole = 100
    while not np.array_equal(pixels[:whole], photo.pixels[:whole]):
        whole -= 1
    assert whole >= rows and whole % rows == 0 and not pixels[whole:].any()
    assert (
        missing[0]
        == f"rows {whole} to {whole + rows - 1} are missing, and black: stripe {whole // rows} is lost"
    )
    with pytest.raises(TruncatedError):
        codec.recover(data[:30])
    with pytest.raises(InputError, match="read whole"):
        codec.recover(obverse.compress(photo.pixels[:10], codec=NAME))
    with pytest.raises(WrongModelError):
        codec.recover(write(Container("vae", {}, (2,), items=(b"", b""))))


# -- files ------------------------------------------------------------------------------------------------


def test_profile_exif_and_orientation_survive(codec, tmp_path):
    """The pixels stay as they lie in the file; the orientation stays an instruction to the viewer."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = Image.fromarray(np.dstack([smooth_photo(40, 60), smooth_photo(40, 60, seed=4, channels=1)]))
    image.save(tmp_path / "a.png", exif=exif.tobytes(), icc_profile=b"colours" * 40)
    options = codec.options(metadata={"author": "somebody"})
    packed = write(codec.encode(codec.kind.load(tmp_path / "a.png"), options))
    container = read(packed)
    assert container.metadata == {"author": "somebody"} and container.shape == (40, 60)
    (tmp_path / "b.png").write_bytes(decoded_file(codec, container, "b.png"))
    before, after = read_photo(tmp_path / "a.png", exact=True), read_photo(tmp_path / "b.png", exact=True)
    assert np.array_equal(before.array(), after.array())
    assert before.exif == after.exif == exif.tobytes() and before.icc == after.icc == b"colours" * 40
    # encoded again, it is the same file
    assert (
        write(
            codec.encode(codec.kind.load(tmp_path / "b.png"), codec.options(metadata={"author": "somebody"}))
        )
        == packed
    )


@pytest.mark.parametrize("target", ["b.png", "b.tif", "b.webp", "b.npy"])
def test_exact_formats_are_exact(codec, target):
    array = np.dstack([smooth_photo(30, 40), smooth_photo(30, 40, seed=1, channels=1)])
    saved = decoded_file(codec, codec.encode(array), target)
    again = (
        np.load(io.BytesIO(saved)) if target.endswith("npy") else np.asarray(Image.open(io.BytesIO(saved)))
    )
    assert np.array_equal(again, array)


def test_16_bit_files(codec):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    container = codec.encode(deep)
    for target in ("b.png", "b.tif"):
        saved = decoded_file(codec, container, target)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(saved))).astype(np.uint16), deep)
        assert np.array_equal(codec.decode(codec.encode(codec.kind.load(io.BytesIO(saved)))), deep)
    with pytest.raises(OutputError, match="16 bits"):
        decoded_file(codec, container, "b.webp")


# -- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4), np.int16), "int16"),
        (np.zeros((4, 4, 5), np.uint16), "shape"),
        (Photo(np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.uint8)), "same type"),
        (np.zeros((4, 4, 5), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint16), "no pixels"),
        (Image.new("F", (4, 4)), "floating-point|is F"),
        (Image.new("CMYK", (4, 4)), "CMYK"),
        ([[1, 2], [3]], "one shape"),
        (Photo(np.zeros((4, 4), np.float64)), "float64"),
    ],
    ids=["float", "int16", "16 bits, 5 channels", "alpha of 8 bits", "5 channels", "batch", "empty", "no columns", "F",
         "CMYK", "ragged", "photo of floats"],
)  # fmt: skip
def test_wrong_input_is_refused_by_name(codec, data, words):
    with pytest.raises(UnsupportedInputError, match=words):
        codec.encode(data)


def test_missing_and_damaged_files(codec, tmp_path):
    with pytest.raises(InputError, match="no file"):
        obverse.compress(tmp_path / "gone.png", codec=NAME)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match="not an image"):
        obverse.compress(tmp_path / "text.png", codec=NAME)
    buffer = io.BytesIO()
    Image.fromarray(smooth_photo(40, 40)).save(buffer, "PNG")
    with pytest.raises(InputError, match="cut short"):
        codec.kind.load(io.BytesIO(buffer.getvalue()[:300]))


def test_there_is_no_quality(photo):
    with pytest.raises(OptionError, match="no option 'quality'"):
        obverse.compress(photo, codec=NAME, quality=50)


# -- bad files --------------------------------------------------------------------------------------------


def container_of(array: np.ndarray, **changes: object) -> bytes:
    return write(Container(**(vars(read(obverse.compress(array, codec=NAME))) | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": {0: 5}},
        {"config": {0: -1}},
        {"config": {0: True}},
        {"config": {0: "x"}},
        {"config": {0: 2, 1: 10}},
        {"config": {0: 2, 3: 0}},
        {"config": {0: 0}},
        {"shape": (0, 5)},
        {"shape": (80, 112, 3)},
        {"shape": (64, 64)},
        {"sections": {}},
        {"sections": {"x": b""}},
        {"sections": {"x": b"\x07"}},
        {"sections": {"x": b"\x01" + b"\xff" * 400}},
        {"sections": {"x": b"\x01"}},
        {"sections": {"y": b"\0" * 26880}},
        {"sections": {"x": b"\0" * 26881, "z": b""}},
        {"sections": {"x": b"\0" * 26881, "icc": b"zip?"}},
        {"sections": {"x": b"\0" * 26880}},
        {"sections": {"x": b"\x05\x01"}},
        {"sections": {"x": b"\x06"}},
        {"sections": {"x": b"\x04\xe1"}},
        {"sections": {"x": b"\x02\x00\x00ab"}},
        {"sections": {"x": b"\x02\x05\x01\x7f"}},
    ],
    ids=str,
)
def test_files_that_no_encoder_writes(photo, changes):
    with pytest.raises(DamagedError):
        obverse.decompress(container_of(photo, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {0: 2}},
        {"config": {0: 2, 1: 0}},
        {"config": {0: 2, 1: 100}},
        {"config": {0: 2, 1: 25.0}},
        {"config": {0: 2, 1: 40}},
        {"config": {0: 2, 1: 25, 2: ["icc"]}},
        {"config": {0: 2, 1: 25, 2: ["other"]}},
        {"config": {0: 2, 1: 25, 2: "icc"}},
        {"items": (b"",) * 4},
        {"items": ()},
    ],
    ids=str,
)
def test_streams_that_no_encoder_writes(small_stripes, changes):
    array = smooth_photo(100, 61)
    assert read(obverse.compress(array, codec=NAME)).config == {0: 2, 1: 25}
    with pytest.raises(DamagedError):
        obverse.decompress(container_of(array, **changes))


def test_bombs_are_refused(codec, photo):
    import lzma
    import zlib

    bomb = zlib.compress(bytes(10**8), 9)
    sections = dict(read(obverse.compress(photo, codec=NAME)).sections)
    with pytest.raises(DamagedError):
        codec.decode(Container(NAME, {0: 2}, photo.shape[:2], sections | {"icc": bomb}))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 4, "lp": 0, "pb": 0}]
    packed = lzma.compress(bytes(10**8), lzma.FORMAT_RAW, filters=filters)
    with pytest.raises(DamagedError):
        codec.decode(Container(NAME, {0: 2}, photo.shape[:2], {"x": b"\x04\x04" + packed}))
    palette = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = palette.compress(bytes(10**6)) + palette.flush()
    data = b"\x02\xff\x01" + encode_varint(len(packed)) + packed
    with pytest.raises(DamagedError):
        codec.decode(Container(NAME, {0: 2}, (9, 9), {"x": data}))


def test_limits_and_their_override(photo):
    data = obverse.compress(photo, codec=NAME)
    with pytest.raises(LimitError, match="pixels"):
        obverse.decompress(data, limits=Limits(pixels=100))
    with pytest.raises(LimitError, match="memory"):
        obverse.decompress(data, limits=Limits(memory=100_000))
    with pytest.raises(LimitError):
        obverse.compress(photo, codec=NAME, limits=Limits(pixels=100))
    with pytest.raises(LimitError):
        obverse.decompress(container_of(photo, shape=(2**20, 2**20)))
    assert np.array_equal(obverse.decompress(data, limits=Limits.unlimited()), photo)


def test_a_small_file_cannot_ask_for_much_memory(codec):
    """268 megapixels by the model are refused before anything of that size is made; one flat colour is not."""
    with pytest.raises(LimitError, match="memory"):
        codec.decode(Container(NAME, {0: 2}, (2**14, 2**14), {"x": b"\x01" + bytes(100)}))
    assert layout_of(Container(NAME, {0: 2}, (2**14, 2**14)), Limits()).stripes == 1


def test_wrong_model_is_named(photo):
    with pytest.raises(WrongModelError, match="0011223344556677"):
        obverse.decompress(container_of(photo, model=bytes.fromhex("0011223344556677")))


@pytest.mark.parametrize("kind", ["photo", "drawing"])
def test_every_truncation_and_many_bit_flips_are_noticed(kind):
    array = smooth_photo(24, 30) if kind == "photo" else drawing(40, 50)
    data = obverse.compress(array, codec=NAME)
    for length in range(len(data)):
        with pytest.raises(ObverseError):
            obverse.decompress(data[:length])
    for bit in np.random.default_rng(0).choice(8 * len(data), 300, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ObverseError):
            obverse.decompress(bytes(flipped))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 7), st.binary(max_size=200), st.integers(0, 4))
def test_any_stripe_decodes_or_raises_our_errors(method, data, kind):
    """Bytes behind valid checksums: what a hostile writer could make."""
    codec = obverse.open_codec(NAME)
    container = Container(NAME, {0: kind}, (12, 10), {"x": bytes([method]) + data}, codec.fingerprint)
    with contextlib.suppress(DamagedError):
        assert codec.decode(container).shape[:2] == (12, 10)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(["photo", "drawing", "noise"]))
def test_changed_messages_decode_or_raise_our_errors(place, change, kind):
    arrays = {
        "photo": smooth_photo(20, 24),
        "drawing": drawing(24, 30),
        "noise": np.arange(144).reshape(12, 12) % 251,
    }
    codec = obverse.open_codec(NAME)
    container = codec.encode(arrays[kind].astype(np.uint8))
    data = bytearray(container.sections["x"])
    data[place % len(data)] ^= change
    damaged = Container(NAME, container.config, container.shape, {"x": bytes(data)}, codec.fingerprint)
    with contextlib.suppress(DamagedError):
        assert codec.decode(damaged).shape == arrays[kind].shape


def test_side_information_is_refused(photo):
    with pytest.raises(InputError, match="side information"):
        obverse.decompress(obverse.compress(photo, codec=NAME), side_info=photo)
