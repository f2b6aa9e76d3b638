"""Which parameters weight decay applies to."""

from collections.abc import Callable

from torch import nn

DecayRule = Callable[[nn.Module, str, nn.Parameter], bool]
"""(module that holds the parameter, full name, parameter) -> whether weight decay applies."""


def by_type(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Matrices decay; vectors, biases and everything in a normalisation layer do not.

    Goes by the module's class and the number of dimensions, so GPT-2's ``ln_1`` and LLaMA's
    ``norm`` are found, and so are the two-dimensional biases of fused experts.
    """
    is_bias = name.endswith(("bias", "_bias"))
    return parameter.ndim >= 2 and not is_bias and "norm" not in type(module).__name__.lower()


def by_name(*without: str) -> DecayRule:
    """Everything decays whose name contains none of the substrings; case matters.

    ``by_name("bias", "layer_norm", "layernorm")`` is MeZO's rule (princeton-nlp/MeZO,
    large_models/trainer.py, zo_update); it decays GPT-2's ``ln_1`` and LLaMA's ``norm``.
    """

    def rule(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
        return not any(part in name for part in without)

    return rule
