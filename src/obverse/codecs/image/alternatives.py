"""What is no photo, and photos near perfection: coded by image-lossless instead, where that costs less.

At a quality, a bit has a price in squared error, and a file costs  J = bits + worth * squared error.

    image ──┬──────────────────────────────► learned transform ──────────────► J ─┐
            ├─ drawn here and there? ──────► both, each for its blocks ──────► J ─┤
            ├─ drawn? ──► fewer colours ───► image-lossless ─────────────────► J ─┼─► the cheapest file
            ├─ drawn, a ramp, or noise ────► image-lossless ─────────────────► J ─┤
            └─ quality above 90? ──► steps ► image-lossless, near-lossless ──► J ─┘
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from obverse.codecs.image.drawn_blocks import drawn_blocks, side_by_side, smooth_where, worth_mixing
from obverse.codecs.image.quality import FINE, FINEST_STEP, LMBDA_MIN, step_of, worth_of
from obverse.codecs.image.rate_control import CLOSE
from obverse.codecs.image_lossless import METHOD as LOSSLESS
from obverse.codecs.image_lossless import near
from obverse.codecs.image_lossless.looks import LOOKS_DRAWN, planar_error, repeats, share_of
from obverse.container import Container, write
from obverse.data.images import Photo
from obverse.fields import LimitedOptions

if TYPE_CHECKING:
    from obverse.codecs.image_lossless.codec import ImageLosslessCodec

PHOTOGRAPHIC = (
    1.0,
    40.0,
)  # mean errors of a planar prediction, in grey levels: below are ramps, above is noise
MUCH = 0.25  # of raw: a file of the transform as large as this is of something that it cannot code
CAREFUL = (1, 4, 16)  # a drawing is tried with as few colours as errors are worth, and with more
WITHIN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)  # grey levels, that a budget may leave
SAMPLE = 2**18  # pixels that decide
BAND = 32  # rows of it that lie together


class Way(NamedTuple):
    """How `image-lossless` may code an image: what pixels, and within what error."""

    pixels: np.ndarray
    max_error: int = 0


class Candidate(NamedTuple):
    """A file that an image could be, and the squared error of its samples, summed."""

    container: Container
    error: float

    def cost(self, worth: float) -> float:
        """In bits. worth: bits that a unit of the error is worth."""
        return 8 * len(write(self.container)) + worth * self.error


Decode = Callable[[], np.ndarray]
Blocks = tuple[np.ndarray, Container, np.ndarray]
"""Which are drawn, the file of these, and the pixels that it decodes to."""


def cheapest(
    photo: Photo,
    quality: float,
    photographic: Callable[[Photo, Blocks | None], tuple[Container, Decode]],
    options: LimitedOptions,
) -> Container:
    """The file that costs least at a quality.

    Args:
        photo: what is coded.
        quality: 1 to 100.
        photographic: makes the file of the transform, with blocks over it or without, and what makes the pixels that
            it decodes to.
        options: of the codec `image`: its limits and metadata.
    """
    worth = worth_of(quality) * (1 if photo.pixels.ndim == 3 else 3)  # a gray sample stands for three
    left, above = repeats(planes_of(photo.pixels))
    drawn = share_of(left, above) >= LOOKS_DRAWN
    container, decode = photographic(photo, None)
    error = planar_error(photo.pixels)
    noise = (
        error > PHOTOGRAPHIC[1] or sum(map(len, container.sections.values())) >= MUCH * photo.pixels.nbytes
    )
    computed = drawn or noise or error < PHOTOGRAPHIC[0]
    blocks = drawn_blocks(left, above)
    mixed = worth_mixing(blocks)
    if not (computed or mixed or quality > FINE):
        return container
    lossy = [Candidate(container, squared_error(decode(), photo.pixels))]
    if mixed:
        over = _cheapest_blocks(photo.pixels, blocks, worth, options)
        smooth = replace(photo, pixels=smooth_where(photo.pixels, blocks))
        container, decode = photographic(smooth, over)
        lossy.append(Candidate(container, squared_error(decode(), photo.pixels)))
    ways: list[Way] = []
    if computed:
        ways.append(Way(photo.pixels))
    if drawn:
        ways += _fewer_colours(photo.pixels, worth)
    if quality > FINE or noise:
        half = min(max(FINEST_STEP // 2, round((step_of(quality) - 1) / 2)), 127)
        halves = {1, 2, half} if drawn else {half, max(1, 2 * half // 3)} if noise else {half}
        ways += [Way(photo.pixels, error) for error in sorted(halves)]
    if photo.size[0] * photo.size[1] > SAMPLE or photo.alpha is not None:
        ways = _promising(photo, ways, worth)
    candidates = (*lossy, *(_lossless(photo, way, options) for way in ways))
    return min(candidates, key=lambda candidate: candidate.cost(worth)).container


def _fewer_colours(pixels: np.ndarray, worth: float) -> list[Way]:
    """Those that a drawing may lose, for some prices of an error near this one."""
    from obverse.codecs.image.fewer_colours import with_fewer_colours

    # of a grid, so that neighbouring qualities try the same
    least = LMBDA_MIN * 4.0 ** math.floor(math.log(worth / LMBDA_MIN, 4))
    found = [pixels]
    for factor in reversed(CAREFUL):
        fewer = with_fewer_colours(pixels, least * factor)
        if fewer is not None and not np.array_equal(fewer, found[-1]):
            found.append(fewer)
    return [Way(fewer) for fewer in found[1:]]


def _cheapest_blocks(pixels: np.ndarray, drawn: np.ndarray, worth: float, options: LimitedOptions) -> Blocks:
    """The drawn blocks as `image-lossless` codes them at least cost."""
    together = Photo(side_by_side(pixels, drawn), None)
    plain = LimitedOptions(limits=options.limits)
    ways = [Way(together.pixels), *_fewer_colours(together.pixels, worth)]
    if together.size[0] * together.size[1] > SAMPLE:
        ways = _promising(together, ways, worth)
    found = [(way, _lossless(together, way, plain)) for way in ways]
    way, best = min(found, key=lambda one: one[1].cost(worth))
    return drawn, best.container, way.pixels


def _promising(photo: Photo, ways: list[Way], worth: float) -> list[Way]:
    """The way that costs least without alpha, if there is any; of a large image, by rows here and there."""
    if len(ways) < 2:
        return ways
    height, width = photo.size
    every = min(-(-height * width // SAMPLE), max(1, height // BAND))
    rows = np.flatnonzero(np.arange(height) // BAND % every == every // 2)
    costs = []
    for way in ways:
        candidate = _lossless(
            Photo(photo.pixels[rows], None), Way(way.pixels[rows], way.max_error), LimitedOptions()
        )
        costs.append(candidate.cost(worth))
    return [ways[int(np.argmin(costs))]]


def _lossless(photo: Photo, way: Way, options: LimitedOptions) -> Candidate:
    """The photo as `image-lossless` codes it."""
    codec = lossless_codec()
    kept = codec.options(max_error=way.max_error, limits=options.limits, metadata=options.metadata)
    container = codec.encode(replace(photo, pixels=way.pixels), kept)
    planes, step = planes_of(way.pixels), container.config.get(3, 1)
    decoded = near.dequantise(near.quantise(planes, step), step).reshape(planes.shape[: photo.pixels.ndim])
    return Candidate(container, squared_error(decoded, photo.pixels))


def all_that_fits(
    photo: Photo,
    best: Container,
    decode: Callable[[Container], Photo] | None,
    max_bytes: int,
    options: LimitedOptions,
) -> Container:
    """What is nearest to the image among the files that fit: what a search over qualities found, or a near-lossless
    one. Sizes jump from quality to quality where one way of coding takes over from another.

    Args:
        photo: what is coded.
        best: what was found.
        decode: makes the photo of it; None where errors do not count alike everywhere, so that only a file without
            loss is surely nearer.
        max_bytes: what fits.
        options: of the codec `image`.
    """
    roomy = len(write(best)) < CLOSE * max_bytes
    if best.codec != LOSSLESS.id and not roomy:
        return best
    exact = within(photo, 0, options)
    if len(write(exact)) <= max_bytes:
        return exact
    if not roomy or decode is None:
        return best
    low, high, fitting = 0, len(WITHIN), None  # what is within WITHIN[low] does not fit
    while high - low > 1:
        middle = (low + high) // 2
        candidate = _lossless(photo, Way(photo.pixels, WITHIN[middle]), options)
        if len(write(candidate.container)) <= max_bytes:
            high, fitting = middle, candidate
        else:
            low = middle
    if fitting is None or fitting.error >= squared_error(decode(best).pixels, photo.pixels):
        return best
    return fitting.container


def lossless_codec() -> ImageLosslessCodec:
    """The codec of the alternatives, imported when one is needed: most photos need none."""
    from obverse.codecs.image_lossless.codec import ImageLosslessCodec

    return ImageLosslessCodec()


def within(photo: Photo, max_error: int, options: LimitedOptions) -> Container:
    """The file whose samples are all within an error."""
    return _lossless(photo, Way(photo.pixels, max_error), options).container


def planes_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) as (H, W, C)."""
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def squared_error(decoded: np.ndarray, pixels: np.ndarray) -> float:
    """Summed over all samples."""
    total = 0.0
    for top in range(0, len(pixels), BAND):  # so that large images need no large arrays of floats
        off = decoded[top : top + BAND].astype(np.float32) - pixels[top : top + BAND]
        total += float(np.square(off).sum(dtype=np.float64))
    return total
