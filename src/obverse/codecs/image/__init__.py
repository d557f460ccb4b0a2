"""Photos, lossy: a variable-rate hyperprior with a four-step context over a learned block transform."""

from obverse.method import Method, Training

METHOD = Method(
    id="image",
    package=__name__,
    summary="photos, lossy, any rate from one learned model",
    data="image",
    codec="codec:ImageCodec",
    default=True,
    builds_on=("image-lossless",),
    also_writes=("image-lossless",),
    paper="Balle et al., ICLR 2018; Li, Li and Lu, CVPR 2023 (four-step context)",
    suffix=".png",
    models=("image",),
    options="options:ImageOptions",
    facts="facts:facts",
    training=Training(
        inputs="recipe:ImageInputs",
        recipe="recipe:ImageRecipe",
        sizes="recipe:ImageModelConfig",
        run="train:run",
        export="export:export",
        examples=(
            "obverse train image --data photos/ --out runs/mine",
            "obverse train image --data photos/ --out runs/mine --warm-start image --lr 5e-4",
            "obverse compress photo.png --codec runs/mine/model",
        ),
    ),
)
