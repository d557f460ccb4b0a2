"""Images, lossless: least squares and an exact network for each channel, and coders of drawings."""

from obverse.method import Method

METHOD = Method(
    id="image-lossless",
    package=__name__,
    summary="any 8-bit image or 16-bit grayscale one, lossless",
    data="exact image",
    codec="codec:ImageLosslessCodec",
    default=True,
    suffix=".png",
    lossless=True,
    models=("image-lossless",),
    options="options:ImageLosslessOptions",
    facts="facts:facts",
    training="command:train_image_lossless",
)
