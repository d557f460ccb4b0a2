"""The half of a classifier on a device, the other half on a server: the Entropic Student."""

from obverse.method import Command, Method, Training

METHOD = Method(
    id="split",
    package=__name__,
    summary="small colour images to what a classifier needs, for split computing",
    data="colour images",
    codec="codec:SplitCodec",
    paper="Matsubara, Yang, Levorato and Mandt, WACV 2022",
    suffix=".csv",
    models=("split-cifar",),
    facts="facts:facts",
    training=Training(
        inputs="recipe:SplitInputs",
        recipe="recipe:TaughtRecipe",
        sizes="sizes:SplitConfig",
        run="train:run",
        export="export:export",
        help="A teacher is trained first, then a split model that imitates it.",
        examples=(
            "obverse train split --data photos/ --out runs/split",
            "obverse train split --data images.npy --labels labels.npy --out runs/split --beta 0.004",
            "obverse split export runs/split/model -o halves",
        ),
    ),
    commands=(Command("split", "command:split_app"),),
)
