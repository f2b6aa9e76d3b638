"""Which parameters weight decay applies to."""

from collections.abc import Callable, Mapping

from torch import nn

from zo2sim.plan.choices import Reference

DecayRule = Callable[[nn.Module, str, nn.Parameter], bool]
"""(module that holds the parameter, full name, parameter) -> whether weight decay applies."""

MEZO_UNDECAYED = ("bias", "layer_norm", "layernorm")
"""MeZO decays what has none of these in its name (princeton-nlp/MeZO, large_models/trainer.py,
zo_update)."""
ZO2_UNDECAYED = (*MEZO_UNDECAYED, "ln")
"""ZO2 leaves GPT-2's norms out too (liangyuwang/zo2, zo2/optimizer/mezo_sgd/zo.py, zo_update)."""


def by_type(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Matrices decay; vectors, biases and everything in a normalisation layer do not.

    Goes by the module's class and the number of dimensions, so GPT-2's ``ln_1`` and LLaMA's
    ``norm`` are found, and so are the two-dimensional biases of fused experts.
    """
    is_bias = name.endswith(("bias", "_bias"))
    return parameter.ndim >= 2 and not is_bias and "norm" not in type(module).__name__.lower()


def by_name(*without: str) -> DecayRule:
    """Everything decays whose name contains none of the substrings; case matters.

    ``by_name(*MEZO_UNDECAYED)`` decays GPT-2's ``ln_1`` and LLaMA's ``norm``.
    """

    def rule(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
        return not any(part in name for part in without)

    return rule


_RULES: Mapping[Reference, DecayRule] = {
    "none": by_type,
    "mezo": by_name(*MEZO_UNDECAYED),
    "zo2": by_name(*ZO2_UNDECAYED),
}


def rule_of(reference: Reference) -> DecayRule:
    """The rule of the code whose bits a recipe asks for; `by_type` where it asks for none."""
    return _RULES[reference]
