"""The half of a classifier on a device, the other half on a server: the Entropic Student."""

from obverse.method import Command, Method

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
    training="command:train_split",
    commands=(Command("split", "command:split_app"),),
)
