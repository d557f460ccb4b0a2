"""Photos, lossy: a variable-rate hyperprior with a four-step context over a learned block transform."""

from obverse.method import Command, Method

METHOD = Method(
    id="image",
    package=__name__,
    summary="photos, lossy, any rate from one learned model",
    data="image",
    codec="codec:ImageCodec",
    default=True,
    paper="Balle et al., ICLR 2018; Li, Li and Lu, CVPR 2023 (four-step context)",
    suffix=".png",
    models=("image",),
    options="options:ImageOptions",
    facts="facts:facts",
    training="command:train_image",
    commands=(Command("export", "command:export"),),
)
