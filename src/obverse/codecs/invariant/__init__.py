"""Codes of sets that keep what tasks need and forget what they do not: VIC, VC and BINCE."""

from obverse.method import Method, Training

METHOD = Method(
    id="invariant",
    package=__name__,
    summary="sets of points or small gray images, what tasks need and no more",
    data="image set",
    codec="codec:InvariantCodec",
    paper="Dubois, Bloem-Reddy, Ullrich and Maddison, NeurIPS 2021",
    models=("invariant-mnist",),
    facts="facts:facts",
    training=Training(
        inputs="recipe:InvariantInputs",
        recipe="recipe:InvariantRecipe",
        sizes="recipe:InvariantConfig",
        run="train:run",
        export="export:export",
        help="Images mean the same when turned, sheared, scaled or moved a little, points of the plane at any angle "
        "about the origin.",
        examples=(
            "obverse train invariant --data train-images-idx3-ubyte.gz --out runs/digits",
            "obverse compress images.npy --codec runs/digits/model",
        ),
    ),
)
