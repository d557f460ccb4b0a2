"""Feature vectors of a frozen encoder, lossy: an entropy bottleneck over a linear transform."""

from obverse.method import Command, Method, Training

METHOD = Method(
    id="features",
    package=__name__,
    summary="feature vectors of a frozen encoder, lossy",
    data="features",
    codec="codec:FeatureCodec",
    default=True,
    paper="Dubois, Bloem-Reddy, Ullrich and Maddison, NeurIPS 2021",
    options="options:FeatureOptions",
    facts="facts:facts",
    training=Training(
        inputs="recipe:FeatureInputs",
        recipe="recipe:FeatureRecipe",
        fit="export:fit_to",
        help="A model is for the features of one encoder; any number of files is compressed with it.",
        examples=(
            "obverse train features --data embeddings.npy --out models/clip",
            "obverse compress-features more.npy --model models/clip",
        ),
    ),
    commands=(Command("compress-features", "command:compress_features"),),
)
