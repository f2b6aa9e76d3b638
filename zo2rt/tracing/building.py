"""The model of a config: the class that transformers has for it, on a device without storage.

Nothing is downloaded, no weight is drawn, and no code that comes with a config is run.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging

from zo2rt.tracing.attention import NAME
from zo2rt.tracing.shadow import Shadow
from zo2sim.checks import first_line, shown
from zo2sim.models.config.fields import MAX_LAYERS

_DROPPED = frozenset(
    {
        *("auto_map", "quantization_config", "compression_config"),
        *("attn_implementation", "_attn_implementation", "_experts_implementation"),
        *("dtype", "torch_dtype", "_name_or_path", "transformers_version", "id"),
    }
)
"""Keys that say where weights come from or how they are stored, or that name others' kernels."""
_ALIASES = {"kimi_k2": "deepseek_v3"}
"""Kinds whose published code is that of another, under a name of its own: Kimi-K2's config.json
names DeepseekV3ForCausalLM, and has its fields."""
_COUNTED = ("layer", "expert", "block", "codebook")
"""Keys about numbers of modules have one of these in their names."""
_MOST_EXPERTS = 1 << 15
"""Doge has 16,384, each of which is a row of a table."""
_WHOLE = ("size", "dim", "interval", "freq", "hidden_state")
"""Unless they are about something else."""
_FLOATS = ("Infinity", "-Infinity", "NaN")
"""What JSON has no number for, as transformers writes it."""
_NOTHING = 60
"""Above every level of a message; what fails raises an error, too."""
_AUTO = (
    *("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM"),
    *("AutoModelForImageTextToText", "AutoModelForImageClassification", "AutoModel"),
)


def meta_model(config: Mapping[str, Any], *, name: str) -> PreTrainedModel:
    """The class that ``architectures`` names, or the first of transformers' for the model type.

    Its parameters have shapes and no values. Raises ``ValueError``, in one line, where there is no
    such class, or it cannot be built from these fields.
    """
    cleaned = _cleaned(config, name)
    with _silent():
        try:
            return _build(cleaned, name)
        except _Refused:
            raise
        except Exception as error:  # of any kind: the fields are a stranger's
            raise ValueError(
                f"{name}: transformers {transformers.__version__} must be able to build the model "
                f"of the config; got {type(error).__name__}: {first_line(error)}"
            ) from error


class _Refused(ValueError):
    """Already says in one line what is wrong."""


def _build(fields: dict[str, Any], name: str) -> PreTrainedModel:
    named = _named(fields)
    model_type = fields.pop("model_type", None if named is None else named.config_class.model_type)
    if isinstance(model_type, str):
        model_type = _ALIASES.get(model_type, model_type)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise _Refused(
            f"{name}: model_type in the config must be one that transformers "
            f"{transformers.__version__} has a class for; got {shown(model_type)}, and code that "
            f"comes with a model (auto_map) is never run here"
        )
    config = AutoConfig.for_model(model_type, **fields)
    kind = _class(config, name) if named is None else named
    if kind.config_class is config.sub_configs.get("text_config"):
        config = config.get_text_config()
    with torch.device("meta"), Shadow(), no_init_weights():
        model = kind._from_config(config, attn_implementation=_attention(kind))
    model.tie_weights()
    return model.eval()


def _named(fields: Mapping[str, Any]) -> Any:
    """The first class of transformers' that ``architectures`` names, if any."""
    named = fields.get("architectures")
    for one in named if isinstance(named, list) else ():
        kind = getattr(transformers, one, None) if isinstance(one, str) else None
        if isinstance(kind, type) and issubclass(kind, PreTrainedModel):
            return kind
    return None


def _class(config: PreTrainedConfig, name: str) -> Any:
    for auto in _AUTO:
        mapping = getattr(transformers, auto)._model_mapping
        if type(config) in mapping:
            kind = mapping[type(config)]
            return kind[0] if isinstance(kind, tuple) else kind
    raise _Refused(
        f"{name}: transformers must have a class for the config; it has none for "
        f"{type(config).__name__}"
    )


def _attention(kind: type[PreTrainedModel]) -> str:
    """As fused as the class can have it; `attention` catches both names."""
    if kind._supports_sdpa:
        return "sdpa"
    return NAME if kind._supports_attention_backend else "eager"


def _cleaned(value: Any, name: str) -> Any:
    """The fields without what does not change shapes; refuses what would never be built."""
    if isinstance(value, Mapping):
        if [*value] == ["__float__"] and value["__float__"] in _FLOATS:
            return float(value["__float__"])
        for key, number in value.items():
            _check_number(key, number, name)
        return {k: _cleaned(v, name) for k, v in value.items() if k not in _DROPPED}
    return [_cleaned(v, name) for v in value] if isinstance(value, list) else value


def _check_number(key: object, number: object, name: str) -> None:
    counts = isinstance(key, str) and any(word in key for word in _COUNTED)
    if not counts or any(word in str(key) for word in _WHOLE):
        return
    most = _MOST_EXPERTS if "expert" in str(key) else MAX_LAYERS
    if isinstance(number, int) and number > most:
        raise _Refused(f"{name}: {key} must be at most {most}; got {shown(number)}")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Advice of transformers about fields is for those who made the config."""
    before = logging.get_verbosity()
    logging.set_verbosity(_NOTHING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
