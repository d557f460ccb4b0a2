"""Sets of small images, lossless: bits back from a latent variable."""

from obverse.method import Method

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
    training="command:train_vae",
)
