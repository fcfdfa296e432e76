"""Small models whose texts `transformers` reads, with random weights and tokenizers of their own.

They have the classes of open_clip's multilingual CLIP (`xlm-roberta-base-ViT-B-32`) and of SigLIP 2
(`ViT-B-16-SigLIP2`); tokenizers are bytes with a few merges, so that they read any script.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch

#: A few sentences, to make merges of.
CORPUS = (
    "a photo of a red circle", "ein Foto von einem roten Kreis", "une photo d'un cercle rouge",
    "赤い丸の写真", "фотография красного круга",
)  # fmt: skip
#: Tokens of both models, and SigLIP 2's padding, which is token 0 as in Gemma's tokenizer.
VOCABULARY = 400


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer as the hub's repositories have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        unk_token="<unk>",
    ).save_pretrained(folder)  # fmt: skip


def multilingual(folder: Path) -> dict[str, Any]:
    """Return the configuration of a multilingual CLIP; its texts are read by XLM-RoBERTa."""
    from transformers import XLMRobertaConfig

    config = XLMRobertaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=80, pad_token_id=0, eos_token_id=1,
        bos_token_id=2,
    )  # fmt: skip
    config.save_pretrained(folder)
    return {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_pooler_type": "mean_pooler",
        },
    }


def siglip2(folder: Path) -> dict[str, Any]:
    """Return the configuration of a SigLIP 2: timm's transformer, attention pooling, a bias."""
    return {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160, "timm_model_name": "test_vit", "timm_model_pretrained": False,
            "timm_pool": "avg", "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 64, "vocab_size": VOCABULARY, "hf_tokenizer_name": str(folder),
            "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 64, "heads": 2, "layers": 2,
            "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
            "norm_kwargs": {"eps": 1e-06}, "act_kwargs": {"approximate": "tanh"},
        },
    }  # fmt: skip


KINDS = {"multilingual": multilingual, "siglip2": siglip2}


def write_model(kind: str, folder: Path) -> tuple[str, str]:
    """Write a model; return its file and that of its weights."""
    folder.mkdir()
    write_tokenizer(folder)
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(KINDS[kind](folder)))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    module = open_clip.create_model(kind, None, pretrained_text=False)
    torch.save(module.state_dict(), folder / "weights.pt")
    return str(path), str(folder / "weights.pt")
