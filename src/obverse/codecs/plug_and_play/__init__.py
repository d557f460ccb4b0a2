"""A generative model of the user's own as a codec of every rate: variational Bayesian quantisation."""

from obverse.method import Command, Method

METHOD = Method(
    id="plug-and-play",
    package=__name__,
    summary="what a generative model of yours encodes, or posteriors, lossy, any rate",
    data="posterior",
    codec="codec:PlugAndPlayCodec",
    paper="Yang, Bamler and Mandt, ICML 2020",
    options="options:PlugAndPlayOptions",
    facts="facts:facts",
    commands=(Command("plug-and-play", "command:plug_and_play_app"),),
)
