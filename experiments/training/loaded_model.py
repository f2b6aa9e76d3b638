"""A model and its tokenizer from a folder or the local cache; never from the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from zo2rt.model.codec import TORCH_DTYPES
from zo2sim.dtypes import Dtype


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A causal language model in eval mode, in the storage dtype."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def config(self) -> dict[str, Any]:
        """The fields of its config.json."""
        return self.model.config.to_dict()

    def check_length(self, sequence: int) -> None:
        """Raise ``ValueError`` where the model has fewer positions."""
        most = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        if isinstance(most, int) and sequence > most:
            raise ValueError(f"--sequence must be at most {most} for {self.name}; got {sequence}")


def quieten() -> None:
    """The bars and warnings of transformers would tear ours."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load(name: str, source: str | Path, dtype: Dtype) -> LoadedModel:
    """The model of a folder, or of a Hugging Face id in the local cache.

    Raises ``ValueError`` where there is none, or it is no causal language model.
    """
    quieten()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            source, local_files_only=True, dtype=TORCH_DTYPES[dtype]
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--model must be 'tiny', a folder that holds a causal language model with its "
            f"tokenizer, or an id that is in the local Hugging Face cache (nothing is downloaded); "
            f"got {name!r}: {str(error).splitlines()[0]}"
        ) from None
    return LoadedModel(name=name, model=model.eval(), tokenizer=tokenizer)


def described(source: str | Path) -> dict[str, Any] | None:
    """The fields of its config.json, before a weight is read; None where `load` alone can tell."""
    quieten()
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError):  # no model, or an adapter's folder
        return None
    return config.get_text_config().to_dict()
