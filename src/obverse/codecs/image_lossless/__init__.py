"""Images, lossless: least squares and an exact network for each channel, and coders of drawings."""

from obverse.method import Method, Training

METHOD = Method(
    id="image-lossless",
    package=__name__,
    summary="any image of 8 or 16 bits a channel, lossless",
    data="exact image",
    codec="codec:ImageLosslessCodec",
    default=True,
    suffix=".png",
    lossless=True,
    models=("image-lossless",),
    options="options:ImageLosslessOptions",
    facts="facts:facts",
    training=Training(
        inputs="recipe:LosslessInputs",
        recipe="recipe:RasterRecipe",
        run="train:run",
        export="export:export",
        help="Photos that were JPEG files are halved in size first, which takes their block artefacts away.",
        examples=(
            "obverse train image-lossless --data photos/ --out runs/lossless",
            "obverse compress photo.png --codec runs/lossless/model",
        ),
    ),
)
