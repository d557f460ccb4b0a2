"""Sets of 32x32 colour images, lossless: an integer discrete flow."""

from obverse.method import Method

METHOD = Method(
    id="flow",
    package=__name__,
    summary="sets of 32x32 colour images, lossless, an integer flow",
    data="image set",
    codec="codec:FlowCodec",
    paper="Hoogeboom, Peters, van den Berg and Welling, NeurIPS 2019",
    lossless=True,
    models=("flow-cifar",),
    options="options:FlowOptions",
    facts="facts:facts",
    training="command:train_flow",
)
