"""A CLIP of random weights on disk, with its image processor's settings and a tokenizer of letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_tiny_clip(transformers: Any, folder: Path) -> Path:
    """Embeddings of 12 numbers, from images of 32x32. transformers: the library, which is an optional one."""
    import torch

    torch.manual_seed(0)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    letters = [chr(c) for c in range(97, 123)] + ["."]
    vocabulary = {token: i for i, token in enumerate([*letters, *(x + "</w>" for x in letters)])}
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    end = vocabulary["<|endoftext|>"]
    config = transformers.CLIPConfig(
        text_config={
            **common, "vocab_size": len(vocabulary), "max_position_embeddings": 40, "bos_token_id": end - 1,
            "eos_token_id": end, "pad_token_id": end,
        },
        vision_config={**common, "image_size": 32, "patch_size": 16},
        projection_dim=12,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({
            "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 32},
            "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "resample": 3, "do_normalize": True,
            "image_mean": [0.481, 0.458, 0.408], "image_std": [0.269, 0.261, 0.276],
        })
    )  # fmt: skip
    return folder
