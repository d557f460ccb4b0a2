"""Weights of neural networks: every tensor of a file, without loss, each to be read by itself."""

from obverse.method import Method

METHOD = Method(
    id="weights",
    package=__name__,
    summary="weights of neural networks, lossless, each tensor to be read by itself",
    data="files:WEIGHTS",
    codec="codec:WeightsCodec",
    suffix=".safetensors",
    lossless=True,
    base=True,
    files=(".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".gguf"),
    options="options:WeightsOptions",
    facts="facts:facts",
    parts="facts:parts",
)
