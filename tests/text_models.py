"""A tiny language model with random weights, and texts whose words tell one another."""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from molbt.text_adaptation.settings import AdaptationConfig

TARGETS = ["kinase", "receptor", "channel", "protease", "transporter", "polymerase"]
CELLS = ["liver", "brain", "heart", "kidney", "lung", "skin"]
"""A text's cells follow from its target: what a model of single words cannot know."""
WORDS = [
    "inhibition",
    "binding",
    "of",
    "to",
    "the",
    "human",
    "rat",
    "measured",
    "in",
    "cells",
    "at",
    "high",
    "low",
    "dose",
    ".",
    "after",
    "one",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 40}


def made_texts(n: int, *, seed: int = 0) -> list[str]:
    """Distinct texts of two sentences and 10 to 13 words."""
    draw = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < n:
        number = draw.randrange(len(TARGETS))
        first = f"{draw.choice(['inhibition of', 'binding to'])} the {draw.choice(['human', 'rat'])} {TARGETS[number]}"
        extra = " ".join(draw.choices(["high", "low", "one", "dose", "after"], k=draw.randint(1, 4)))
        texts[f"{first} . in {CELLS[number]} cells {extra}"] = None
    return list(texts)


def save_tiny(
    directory: Path, network_class: type, *, tokens: Sequence[str] = (*SPECIAL, *WORDS, *TARGETS, *CELLS), **config: float
) -> Path:
    tokenizer = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if "[MASK]" in tokens:
        names["mask_token"] = "[MASK]"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(directory)
    torch.manual_seed(0)
    options = {"add_pooling_layer": False} if network_class is BertModel else {}
    network_class(BertConfig(vocab_size=len(tokens), **TINY, **config), **options).save_pretrained(directory)
    return directory


def tiny_config(**changes: object) -> AdaptationConfig:
    settings = {"epochs": 2, "batch_size": 16, "max_tokens": 32, "learning_rate": 5e-3, "head_rate": 1.0, "held_out": 0.2}
    return AdaptationConfig(**{**settings, "num_threads": 1, "precision": "fp32", "device": "cpu", "checkpoint_every": 4, **changes})
