"""The right view of a pair, lossy, decoded with the left view."""

from obverse.method import Method

METHOD = Method(
    id="stereo",
    package=__name__,
    summary="the right view of a pair, lossy, decoded with the left view",
    data="image",
    codec="codec:StereoCodec",
    suffix=".png",
    side_info=True,
    models=("stereo",),
    builds_on=("image",),
    options="options:StereoOptions",
    facts="facts:facts",
    training="command:train_stereo",
)
