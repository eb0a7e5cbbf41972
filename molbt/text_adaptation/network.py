"""The network that predicts masked tokens: read without running code of the model's, adapters where asked for, and written whole."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from molbt.data.files import atomic_write
from molbt.errors import CheckpointError, ConfigError, require
from molbt.modalities._text_models import TextModelFiles, read_network
from molbt.text_adaptation.masking import MaskedBatch
from molbt.text_adaptation.settings import AdaptationConfig
from molbt.training.run_dir import writing_run

logger = logging.getLogger(__name__)

# What a tokenizer consists of; copied as it is, so that the adapted model reads texts as its original does.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")


class MaskedTokenPredictor(nn.Module):
    """A language model with its head over the vocabulary, which sees the predicted places only: they are one in seven.

    Attributes
    ----------
    network : nn.Module
        Of the class that transformers has for masked tokens.
    new_head : tuple of str
        Weights of the head that the files lack: they begin as drawn.
    """

    def __init__(self, network: Any, new_head: tuple[str, ...] = ()) -> None:
        super().__init__()
        if network.base_model is network:
            raise ConfigError(f"{type(network).__name__} has no body apart from its head; adapt a model of another type, such as bert")
        self.network = network
        self.new_head = new_head
        self._predicted: Tensor | None = None
        self._adapted: Any = None
        network.base_model.register_forward_hook(self._keep_predicted)

    def forward(self, batch: MaskedBatch) -> Tensor:
        """Return the scores of the vocabulary at the predicted places: ``(predicted tokens, vocabulary)``."""
        self._predicted = batch.predicted
        return self.network(input_ids=batch.tokens, attention_mask=batch.attention).logits[0]

    def losses(self, batch: MaskedBatch) -> Tensor:
        """Return −log p of each target: ``(predicted tokens,)`` float32, in nats."""
        return nn.functional.cross_entropy(self(batch).float(), batch.targets, reduction="none")

    def head(self) -> list[nn.Parameter]:
        """Return the parameters behind the body; tied embeddings belong to the body."""
        body = set(self.network.base_model.parameters())
        return [parameter for parameter in self.network.parameters() if parameter not in body]

    def freeze_body(self) -> None:
        self.network.base_model.requires_grad_(False)

    def add_adapters(self, rank: int) -> None:
        """Freeze the body and put low-rank adapters into its linear layers; drawn from torch's generator.

        Raises
        ------
        MissingDependencyError
            If the package ``peft`` is not installed.

        References
        ----------
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, https://arxiv.org/abs/2106.09685
        """
        peft = _peft()
        settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", bias="none")
        self._adapted = peft.get_peft_model(self.network.base_model, settings)

    def merge_adapters(self) -> None:
        """Add the adapters, if there are any, to the weights that they stand beside."""
        if self._adapted is not None:
            self._adapted.merge_and_unload()
            self._adapted = None

    def _keep_predicted(self, body: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[self._predicted][None]
        return output


def load_tokenizer(files: TextModelFiles) -> Any:
    """Return the tokenizer of a model.

    Raises
    ------
    CheckpointError
        If transformers cannot read it.
    ConfigError
        If it has no mask token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # what is no tokenizer fails in many ways
        raise CheckpointError(f"cannot read the tokenizer at {files.directory}: {error}; fetch the model again") from error
    if tokenizer.mask_token_id is None:
        raise ConfigError(f"the tokenizer at {files.directory} has no mask token; adapt an encoder that was trained with one: minilm")
    return tokenizer


def check_trainable(files: TextModelFiles, config: AdaptationConfig) -> None:
    """Raise what would end the work, before it.

    Raises
    ------
    ConfigError
        If transformers has no network for masked tokens of the model's type (decoders), or the model takes no ``max_tokens``.
    CheckpointError
        If its configuration cannot be read.
    MissingDependencyError
        If adapters are asked for and ``peft`` is not installed.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

    if config.lora_rank is not None:
        _peft()
    try:
        settings = AutoConfig.from_pretrained(files.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as above
        raise CheckpointError(f"cannot read the language model at {files.directory}: {error}; fetch it again") from error
    if type(settings) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ConfigError(
            f"expected an encoder that predicts masked tokens, {files.directory} is of type {settings.model_type!r}; adapt another one, "
            "such as minilm"
        )
    limit = getattr(settings, "max_position_embeddings", None)
    if limit is not None and config.max_tokens > limit:
        raise ConfigError(f"max_tokens must be at most {limit} for this language model, received {config.max_tokens}; lower --max-tokens")


def load_predictor(files: TextModelFiles) -> MaskedTokenPredictor:
    """Return the network (float32); what the files lack of its head is drawn from torch's generator.

    Raises
    ------
    CheckpointError
        If it cannot be read, or its body lacks weights.
    """
    from transformers import AutoModelForMaskedLM

    with _silent():
        network, missing = read_network(AutoModelForMaskedLM, files)
    body = f"{network.base_model_prefix}."
    lacking = [name for name in missing if name.startswith(body) and ".pooler." not in name]
    if lacking:
        raise CheckpointError(f"the weights at {files.directory} lack {', '.join(lacking[:3])} of {len(lacking)}; fetch the model again")
    return MaskedTokenPredictor(network, tuple(name for name in missing if not name.startswith(body)))


def save_language_model(predictor: MaskedTokenPredictor, files: TextModelFiles, directory: Path) -> None:
    """Write the network with the tokenizer of its original; ``config.json`` comes last, and with it the model exists."""
    predictor.merge_adapters()
    with writing_run(directory), tempfile.TemporaryDirectory() as temporary, _silent():
        predictor.network.save_pretrained(temporary, safe_serialization=True)
        written = sorted(Path(temporary).iterdir(), key=lambda path: (path.name == "config.json", path.name))
        copied = [files.directory / name for name in _TOKENIZER_FILES if (files.directory / name).is_file()]
        directory.mkdir(parents=True, exist_ok=True)
        for path in [*copied, *written]:
            with atomic_write(directory / path.name) as file:
                file.write(path.read_bytes())


def _peft() -> Any:
    return require("peft", extra="lora", purpose="training with lora_rank")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from reporting what is looked at here anyway."""
    from transformers.utils import logging as messages

    level, bars = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(level)
        if bars:
            messages.enable_progress_bar()
