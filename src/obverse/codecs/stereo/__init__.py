"""The right view of a pair, lossy, decoded with the left view."""

from obverse.method import Method, Training

METHOD = Method(
    id="stereo",
    package=__name__,
    summary="the right view of a pair, lossy, decoded with the left view",
    data="image",
    codec="codec:StereoCodec",
    suffix=".png",
    side_info=True,
    models=("stereo",),
    builds_on=("image",),
    options="options:StereoOptions",
    facts="facts:facts",
    training=Training(
        inputs="recipe:StereoInputs",
        recipe="recipe:StereoRecipe",
        sizes="recipe:StereoConfig",
        run="train:run",
        export="export:export",
        examples=(
            "obverse train stereo --data pairs/ --data photos/ --keep-out 5 --out runs/stereo",
            "obverse compress right.png --codec runs/stereo/model",
            "obverse decompress right.obv --side-info left.png --model runs/stereo/model",
        ),
    ),
)
