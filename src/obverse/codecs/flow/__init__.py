"""Sets of 32x32 colour images, lossless: an integer discrete flow."""

from obverse.method import Method, Training

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
    training=Training(
        inputs="recipe:FlowInputs",
        recipe="recipe:FlowRecipe",
        sizes="recipe:FlowConfig",
        run="train:run",
        export="export:export",
        examples=(
            "obverse train flow --data images.npy --photos photos/ --out runs/flow",
            "obverse compress others.npy --codec runs/flow/model",
            "obverse decompress others.obv --model runs/flow/model",
        ),
    ),
)
