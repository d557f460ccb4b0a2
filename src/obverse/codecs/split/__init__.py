"""The half of a classifier on a device, the other half on a server: the Entropic Student."""

from obverse.method import Method

METHOD = Method(
    id="split",
    package=__name__,
    summary="small colour images to what a classifier needs, for split computing",
    data="colour images",
    codec="codec:SplitCodec",
    paper="Matsubara, Yang, Levorato and Mandt, WACV 2022",
    suffix=".csv",
    folder=True,
    models=("split-cifar",),
)
