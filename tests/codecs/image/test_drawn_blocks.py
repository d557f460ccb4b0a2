"""Images that are photo here and drawing there: blocks of `image-lossless` in a file of `image`."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

import obverse
from obverse.codecs.image import alternatives, drawn_blocks
from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.image.drawn_blocks import SIDE, blocks_of, put_back, side_by_side, smooth_where
from obverse.codecs.image_lossless.looks import repeats
from obverse.container import Limits, read, write
from obverse.errors import DamagedError, DecodeError, LimitError
from obverse.metrics.distortion import psnr
from tests.codecs.image.cases import photo_on_a_page


def blocks_drawn(pixels):
    return drawn_blocks.drawn_blocks(*repeats(pixels))


@pytest.fixture(scope="module")
def page():
    return photo_on_a_page()


@pytest.fixture(scope="module")
def container(page):
    codec = ImageCodec()
    return codec.encode(page, codec.options(quality=30))


def test_a_photo_on_a_page_is_coded_as_both(page, container, monkeypatch):
    assert list(container.sections) == ["y", "blocks"] and container.version == 2
    decoded = obverse.decompress(write(container))
    monkeypatch.setattr(alternatives, "worth_mixing", lambda drawn: False)
    other = obverse.compress(page, quality=30)
    assert len(write(container)) < 0.75 * len(other)
    assert psnr(page, decoded) > psnr(page, obverse.decompress(other))


def test_the_letters_are_sharp(page, container):
    drawn = blocks_drawn(page)
    decoded = obverse.decompress(write(container))
    error = np.abs(blocks_of(decoded).astype(int) - blocks_of(page))[drawn]
    assert np.square(error).mean() < 10
    assert 0 < drawn.mean() < 1


def test_gray_and_alpha_come_along(page):
    gray = np.ascontiguousarray(page[:, :, 1])
    file = obverse.compress(gray, quality=30)
    assert "blocks" in read(file).sections and psnr_of(gray, obverse.decompress(file)) > 28
    alpha = np.full((*page.shape[:2], 1), 200, np.uint8)
    decoded = obverse.decompress(obverse.compress(np.concatenate([page, alpha], 2), quality=30))
    assert np.array_equal(decoded[..., 3], alpha[..., 0])


def psnr_of(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


def test_photos_have_no_drawn_blocks(photo):
    assert not drawn_blocks.worth_mixing(blocks_drawn(photo))
    bright = np.minimum(photo.astype(int) + 120, 255).astype(np.uint8)  # a sky without detail is no drawing
    assert not blocks_drawn(bright).all()


def test_a_size_is_met_and_the_rate_is_that_of_the_file(page, container):
    codec = ImageCodec()
    part = np.ascontiguousarray(page[32:160, 64:224])
    made = codec.encode(part, codec.options(max_bytes=3000))
    assert "blocks" in made.sections and len(write(made)) <= 3000
    bits = float(codec.rate_bits(page, codec.options(quality=30))[0])
    assert bits == pytest.approx(8 * sum(map(len, container.sections.values())), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 2**31), st.sampled_from([(), (3,)]))
def test_blocks_go_where_they_were(height, width, seed, channels):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)
    drawn = rng.random((-(-height // SIDE), -(-width // SIDE))) < 0.5
    drawn[rng.integers(drawn.shape[0]), rng.integers(drawn.shape[1])] = True
    together = side_by_side(pixels, drawn)
    assert together.shape[0] % SIDE == 0 and together.shape[1] % SIDE == 0
    back = put_back(np.zeros_like(pixels), drawn, together)
    inside = np.repeat(np.repeat(drawn, SIDE, 0), SIDE, 1)[:height, :width]
    assert np.array_equal(back[inside], pixels[inside]) and not back[~inside].any()
    smooth = smooth_where(pixels, drawn)
    assert smooth.shape == pixels.shape and np.array_equal(smooth[~inside], pixels[~inside])


def test_what_is_filled_is_like_its_surroundings():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (128, 1))
    drawn = np.zeros((4, 8), bool)
    drawn[1:3, 3:5] = True
    damaged = ramp.copy()
    damaged[32:96, 96:160] = 255
    filled = smooth_where(damaged, drawn)
    assert np.abs(filled.astype(int) - ramp)[32:96, 96:160].max() < 40


def sections_with(container, blocks):
    return replace(container, sections=container.sections | {"blocks": blocks})


def hostile(container):
    section = container.sections["blocks"]
    length = int.from_bytes(section[:4], "little")
    mask, inner = section[4 : 4 + length], section[4 + length :]
    other = obverse.compress(np.zeros((SIDE, SIDE, 3), np.uint8), "image-lossless")
    return {
        "nothing": b"",
        "no file": section[: 4 + length],
        "cut": section[:-5],
        "of another size": section[: 4 + length] + other,
        "of another codec": section[: 4 + length] + write(container),
        "a mask that is longer than the section": (2**32 - 1).to_bytes(4, "little") + section[4:],
        "no mask": (0).to_bytes(4, "little") + inner,
        "a damaged mask": section[:4] + bytes(len(mask)) + inner,
    }


@pytest.mark.parametrize("kind", ["nothing", "no file", "cut", "of another size", "of another codec",
                                  "a mask that is longer than the section", "no mask", "a damaged mask"])  # fmt: skip
def test_blocks_that_no_encoder_writes(container, kind):
    with pytest.raises(DecodeError):
        ImageCodec().decode(sections_with(container, hostile(container)[kind]))


def test_blocks_with_alpha_or_of_another_kind_are_refused(container):
    section = container.sections["blocks"]
    length = int.from_bytes(section[:4], "little")
    inner = read(section[4 + length :])
    gray = obverse.compress(np.zeros(tuple(inner.shape[:2]), np.uint8), "image-lossless")
    with pytest.raises(DamagedError, match="of another kind than it"):
        ImageCodec().decode(sections_with(container, section[: 4 + length] + gray))


def test_version_1_has_no_blocks(container):
    with pytest.raises(DamagedError, match="other sections"):
        ImageCodec().decode(replace(container, version=1))


def test_limits_hold_for_the_blocks_too(container):
    with pytest.raises(LimitError):
        ImageCodec().decode(container, Limits(memory=10_000))


def test_letters_on_a_photo_are_left_to_the_transform():
    rng = np.random.default_rng(0)
    noisy = np.clip(128 + rng.normal(0, 12, (160, 192, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(noisy)
    ImageDraw.Draw(image).text((8, 8), "letters", font=ImageFont.load_default(20), fill=(255, 255, 255))
    file = read(obverse.compress(np.asarray(image), quality=30))
    assert "blocks" not in file.sections


def test_a_large_photo_with_a_small_drawing():
    """Too little is drawn for `image-lossless` to be tried for the whole, and enough for blocks."""
    large = np.random.default_rng(1).normal(128, 12, (544, 512, 3)).clip(0, 255).astype(np.uint8)
    large[:96, :256] = photo_on_a_page()[:96, :256]
    large[:96, :256] = np.where(large[:96, :256] > 128, 250, 40)
    drawn = blocks_drawn(large)
    assert drawn_blocks.worth_mixing(drawn) and drawn.mean() < 0.2
    assert obverse.decompress(obverse.compress(large, quality=20)).shape == large.shape
