"""Sets of small images, lossless: bits back from a latent variable."""

from obverse.method import Method, Training

METHOD = Method(
    id="vae",
    package=__name__,
    summary="sets of small images, lossless, bits back from a latent variable",
    data="image set",
    codec="codec:VaeCodec",
    paper="Townsend, Bird and Barber, ICLR 2019",
    lossless=True,
    models=("vae-mnist", "vae-mnist-binary", "vae-fashion"),
    options="options:VaeOptions",
    facts="facts:facts",
    training=Training(
        inputs="recipe:VaeInputs",
        recipe="recipe:VaeRecipe",
        sizes="recipe:VaeConfig",
        run="train:run",
        export="export:export",
        examples=(
            "obverse train vae --data train-images-idx3-ubyte.gz --out runs/digits",
            "obverse train vae --data train-images-idx3-ubyte.gz --out runs/binary --binarise stochastic",
            "obverse compress images.npy --codec runs/digits/model",
        ),
    ),
)
