"""Embedding texts with MiniLM: `LanguageModel.embed` against one text at a time, as tutorials do it.

    python benchmarks/texts.py [FILE] [--texts 128] [--rounds 5]

FILE is what `molbt adapt-text` reads; without it, the assay descriptions of the public data sets (``MOLBT_DATA``). CPU seconds of one
thread, the ways in turns on the same texts; goal: twice as many texts per second. One by one is in float32; `embed` is in float32, and in
bfloat16, and its vectors are compared. ``padded`` is one text at a time filled up to 256 tokens, as a careless call of the tokenizer does;
it is timed on fewer texts.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from molbt.data.sources import data_dir
from molbt.modalities._language_model import LanguageModel
from molbt.modalities._text_models import find_text_model, load_text_model
from molbt.text_adaptation.texts import read_texts

MAX_TOKENS = 256
GOAL = 2.0


def cpu_seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


class OneByOne:
    """The model called on each text alone."""

    def __init__(self) -> None:
        self.tokenizer, self.network = load_text_model(find_text_model("minilm"))

    def embed(self, texts: Sequence[str], *, padded: bool = False) -> np.ndarray:
        vectors = []
        for text in texts:
            tokens = self.tokenizer(
                text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS, padding="max_length" if padded else False
            )
            with torch.inference_mode():
                hidden = self.network(**tokens).last_hidden_state[0]
            mask = tokens["attention_mask"][0, :, None]
            vector = (hidden * mask).sum(dim=0) / mask.sum()
            vectors.append((vector / vector.norm()).numpy())
        return np.stack(vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = read_texts(arguments.file or data_dir(None) / "zero-shot" / "assay_text_corpus.jsonl.gz")
    texts = list(dict.fromkeys(record[0] for record in found))
    drawn = np.random.default_rng(0).permutation(len(texts))[: arguments.texts]
    texts = [texts[number] for number in drawn]
    one_by_one, language_model = OneByOne(), LanguageModel.find("minilm")
    lengths = [len(ids) for ids in one_by_one.tokenizer(texts)["input_ids"]]
    # Windows of longer texts are read by one of the two only.
    texts = [text for text, length in zip(texts, lengths, strict=True) if length <= MAX_TOKENS]
    lengths = [length for length in lengths if length <= MAX_TOKENS]
    print(f"{len(texts)} texts of {np.mean(lengths):.0f} tokens on average ({min(lengths)} to {max(lengths)})")

    one_by_one.embed(texts[:4])
    language_model.embed(texts[:4], max_tokens=MAX_TOKENS)  # the first call reads the model
    some = texts[: len(texts) // 8]
    ways: dict[str, tuple[int, Callable[[], np.ndarray]]] = {
        "one by one": (len(texts), lambda: one_by_one.embed(texts)),
        "embed, fp32": (len(texts), lambda: language_model.embed(texts, max_tokens=MAX_TOKENS)),
        "embed, bf16": (len(texts), lambda: language_model.embed(texts, max_tokens=MAX_TOKENS, precision="bf16")),
        "one by one, padded": (len(some), lambda: one_by_one.embed(some, padded=True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {}
    for _ in range(arguments.rounds):
        for name, (n_texts, work) in ways.items():
            spent, vectors[name] = cpu_seconds(work)
            seconds[name].append(spent / n_texts)
    exact = vectors["one by one"]
    for name, spent in seconds.items():
        ratios = [slow / fast for slow, fast in zip(seconds["one by one"], spent, strict=True)]
        cosine = (vectors[name] * exact[: len(vectors[name])]).sum(axis=1).min()
        print(
            f"{name:>20}: {1 / statistics.median(spent):6.1f} texts per CPU second, {statistics.median(ratios):.2f} × one by one "
            f"({min(ratios):.2f} to {max(ratios):.2f}); smallest cosine with its vectors 1 - {max(0.0, 1 - cosine):.1e}"
        )
    print(f"goal: {GOAL} × one by one")


if __name__ == "__main__":
    main()
