"""A model and its tokenizer from a folder or the local cache; never from the network."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers.utils import logging
from transformers.utils.hub import cached_file

from experiments.answer.trust import summed
from experiments.cli import json_object
from experiments.training import adapters
from zo2rt.checkpoint import Checkpoint, NotByShard
from zo2rt.checkpoint.presence import present
from zo2rt.model.codec import TORCH_DTYPES
from zo2rt.model.loss import evaluating
from zo2sim.checks import first_line, shown
from zo2sim.models.config.fields import MAX_LAYERS
from zo2sim.plan.choices import Recipe
from zo2sim.reading import read_text

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is downloaded, and no code that comes with a model is run or asked about."""
_CODE = "trust_remote_code"  # what transformers says to set where a model needs its own
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_READ = ("config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json")
_LAYERS = {"num_hidden_layers", "num_layers", "n_layers", "n_layer"}
_TOKENS = 8
_SEEN = 1e-5
"""Relative change of logits that is no rounding; of narrow formats some of their steps are."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A causal language model in eval mode, in the storage dtype, or PEFT's around one.

    ``unused`` names weights of its folder that its class has no place for. Its weights are those
    of ``checkpoint``, which reads them from the folder when they are needed; where that cannot be,
    they are in memory, and ``whole`` says why.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    unused: tuple[str, ...] = ()
    checkpoint: Checkpoint | None = None
    whole: str | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The fields of its config.json."""
        return self.model.config.to_dict()

    def check_length(self, sequence: int) -> None:
        """Raise ``ValueError`` where the model has fewer positions."""
        most = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        if isinstance(most, int) and sequence > most:
            raise ValueError(f"--sequence must be at most {most} for {self.name}; got {sequence}")

    def check_causal(self) -> None:
        """Raise ``ValueError`` where the first token's logits know of the tokens after it.

        The loss is about the next token, which an encoder would be shown.
        """
        weight = self.model.get_input_embeddings().get_parameter("weight")
        vocab = weight.shape[0]
        first = torch.arange(_TOKENS)[None] % vocab
        other = torch.cat((first[:, :1], vocab - 1 - first[:, 1:]), dim=1)
        there = (
            nullcontext()
            if self.checkpoint is None
            else present(self.model, self.checkpoint.weights)
        )
        with there, evaluating(self.model), torch.no_grad():
            change = self._change(torch.cat((first, other)))
            if change:  # rows of one batch may round in their own ways
                change = self._change(first, other)
        rounding = max(_SEEN, 4 * torch.finfo(self.model.dtype).eps)
        says_so = any(getattr(m, "is_causal", True) is False for m in self.model.modules())
        if change > (0.0 if says_so else rounding):
            raise ValueError(
                f"{self.name}: {type(self.model).__name__} must read from left to right, and it "
                f"sees the tokens that it is asked to predict; choose a decoder (of a class that "
                f"is both, the config.json of one says is_decoder)"
            )

    def _change(self, *batches: Tensor) -> float:
        """Of the first token's logits from one row to the next, relative to the largest."""
        rows = torch.cat([self.model(ids).logits[:, 0].float() for ids in batches])
        return float((rows[0] - rows[1]).abs().max() / rows[0].abs().max())


def quieten() -> None:
    """The bars and warnings of transformers would tear ours; `load` tells what counts of them."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load(
    name: str, source: str | Path, recipe: Recipe, seed: int, blocks: str | None = None
) -> LoadedModel:
    """The model of a folder, or of a Hugging Face id in the local cache; with LoRA, with adapters.

    They are the folder's, or new ones of the recipe's rank and this seed, in the lists that
    ``blocks`` names or all that hold blocks. Raises ``ValueError``
    where there is no model, it is no causal language model, or some of its weights are missing.
    """
    base = adapters.base_of(name, Path(source))
    tokens = source if base is None else adapters.tokenizer_of(Path(source), base)
    loaded = _loaded(name, tokens, source if base is None else base, recipe)
    if base is not None:
        with _readable(name):
            model = adapters.opened(loaded.model, Path(source))
        adapters.check_rank(name, model, recipe)
    elif recipe.lora_rank is not None:
        model = adapters.added(loaded.model, recipe.lora_rank, seed, blocks)
    else:
        return loaded
    return replace(loaded, model=model)


def _loaded(name: str, tokens: str | Path, base: str | Path, recipe: Recipe) -> LoadedModel:
    quieten()
    _check_files(name, Path(base))
    with _readable(name):
        tokenizer = AutoTokenizer.from_pretrained(tokens, **_LOCAL)
        dtype = TORCH_DTYPES[recipe.plain_dtype]
        try:
            found = _by_shard(name, base, tokenizer, dtype)
        except NotByShard as error:
            found = _whole(name, base, tokenizer, dtype, str(error))
    loaded, missing = found
    _check_class(name, loaded.model.config)
    _check_complete(name, missing)
    return loaded


def _by_shard(
    name: str, base: str | Path, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> tuple[LoadedModel, Collection[str]]:
    """The model without its weights, and the names of those that are missing."""
    checkpoint = Checkpoint(AutoModelForCausalLM, _folder_of(base), dtype)
    loaded = LoadedModel(
        name=name,
        model=checkpoint.model,
        tokenizer=tokenizer,
        unused=checkpoint.unused,
        checkpoint=checkpoint,
    )
    return loaded, checkpoint.missing


def _whole(
    name: str, base: str | Path, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, why: str
) -> tuple[LoadedModel, Collection[str]]:
    """The model with its weights in memory, and the names of those that are missing."""
    read: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, output_loading_info=True, **_LOCAL
    )
    model, found = read
    loaded = LoadedModel(
        name=name,
        model=model.eval(),
        tokenizer=tokenizer,
        unused=tuple(sorted(found["unexpected_keys"])),
        whole=f"{name} is loaded whole, not by shard: {why}",
    )
    return loaded, found["missing_keys"]


def _folder_of(base: str | Path) -> Path:
    """Where the files of a model lie that is in the local cache."""
    if Path(base).is_dir():
        return Path(base)
    config: Any = cached_file(str(base), "config.json", local_files_only=True)
    return Path(config).parent


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """``ValueError`` for whatever is raised: files are a stranger's, and so are their readers."""
    try:
        yield
    except Exception as error:
        raise ValueError(_unreadable(name, error)) from None


def described(name: str, source: str | Path) -> dict[str, Any] | None:
    """The fields of its config.json, before a weight is read; None where `load` alone can tell.

    Raises ``ValueError`` where the weights are those of another kind of model.
    """
    quieten()
    source = adapters.base_of(name, Path(source)) or source
    _check_files(name, Path(source))
    try:
        config = AutoConfig.from_pretrained(source, **_LOCAL)
    except Exception:  # no model, or whatever `load` says
        return None
    _check_class(name, config)
    return config.get_text_config().to_dict()


def _check_files(name: str, folder: Path) -> None:
    """Raise ``ValueError`` for what transformers would follow out of the folder, or never end."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path}: a model is files, and no pipes or devices: they may not end")
        fields = json_object(read_text(path), where=str(path)) if path.name in _READ else {}
        for key in _LAYERS & fields.keys():
            if isinstance(fields[key], int | float) and fields[key] > MAX_LAYERS:
                raise ValueError(
                    f"--model {name}: {key} must be at most {MAX_LAYERS}; got {shown(fields[key])}"
                )
        shards = fields.get("weight_map", {})
        names = shards.values() if isinstance(shards, dict) else (shards,)
        outside = [one for one in names if not isinstance(one, str) or Path(one).name != one]
        if outside:
            raise ValueError(f"{path}: a shard must be a file beside it; got {shown(outside[0])}")


def _unreadable(name: str, error: Exception) -> str:
    if _CODE in str(error):
        return (
            f"--model {name}: it needs code of its own (auto_map in its files), which is never "
            "run here; convert it to a class that transformers has"
        )
    return (
        f"--model must be 'tiny', a folder that holds a causal language model with its tokenizer, "
        f"or an id that is in the local Hugging Face cache (nothing is downloaded); "
        f"got {name!r}: {first_line(error)}"
    )


def _check_class(name: str, config: PreTrainedConfig) -> None:
    """A class without a head is taken where nothing is missing then; one that is unknown, too."""
    named: list[str] = config.architectures or []
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *_names(MODEL_MAPPING_NAMES.values())}
    if named and not any(n in known or n.endswith(_CAUSAL) for n in named):
        raise ValueError(
            f"--model {name}: it holds a {named[0]}, and run trains the next token with a causal "
            f"language model ({_CAUSAL[0]}, {_CAUSAL[1]}); another head would be thrown away, and "
            f"another reading of the text does not predict it; give the model before it got "
            f"that head"
        )


def _names(values: Collection[str | tuple[str, ...]]) -> set[str]:
    return {one for v in values for one in ((v,) if isinstance(v, str) else v)}


def _check_complete(name: str, missing: Collection[str]) -> None:
    if missing:
        raise ValueError(
            f"--model {name}: the folder has no {summed(sorted(missing))}, which would be new and "
            f"random, and to train that is no fine-tuning; give a folder that holds every weight"
        )
