"""Feature vectors of a frozen encoder, lossy: an entropy bottleneck over a linear transform."""

from obverse.method import Command, Method

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
    training="command:train_features",
    commands=(Command("compress-features", "command:compress_features"),),
)
