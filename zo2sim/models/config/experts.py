"""A mixture of experts: the router picks some experts per token, and all their weights stay.

Shapes as in `transformers.MixtralForCausalLM` of transformers 5: the experts of a block are two
three-dimensional parameters, multiplied by grouped kernels.
"""

from zo2sim.models.config.fields import Fields
from zo2sim.models.config.parts import Part, activation
from zo2sim.models.shapes import Gemm, Parameter

_ROUTER_KERNELS = 6  # product, cast, softmax, top k, sum, division
_GROUPING_KERNELS = 16  # sort, gather, histogram, two products, weighting, scatter, sum, cast
_CASTS = 2  # one of either


def mixture(fields: Fields, hidden: int, ffn: int, kind: str) -> Part:
    """Router and experts of one block.

    The rows of a token go to ``num_experts_per_tok`` experts, evenly in the mean. Adapters attach
    to the two matrices of every expert, not to the router.
    """
    experts = fields.count("num_local_experts", 8)
    chosen = fields.count("num_experts_per_tok", 2)
    if chosen > experts:
        raise ValueError(
            f"{fields.name}: num_experts_per_tok must be at most num_local_experts; "
            f"got {chosen} and {experts}"
        )
    share = chosen / experts
    return Part(
        parameters=_parameters(experts, hidden, ffn),
        gemms=(
            Gemm(n=experts, k=hidden),
            Gemm(n=2 * ffn, k=hidden, count=experts, rows_per_token=share),
            Gemm(n=hidden, k=ffn, count=experts, rows_per_token=share),
        ),
        elementwise=_router_elements(experts, chosen) + _expert_elements(chosen, hidden, ffn, kind),
        kernels=_ROUTER_KERNELS + _GROUPING_KERNELS + activation(kind, ffn).kernels,
        cast_kernels=_CASTS,
        linear_shapes=((2 * ffn, hidden), (hidden, ffn)) * experts,
    )


def _parameters(experts: int, hidden: int, ffn: int) -> tuple[Parameter, ...]:
    return (
        Parameter(name="mlp.gate.weight", shape=(experts, hidden)),
        Parameter(name="mlp.experts.gate_up_proj", shape=(experts, 2 * ffn, hidden)),
        Parameter(name="mlp.experts.down_proj", shape=(experts, hidden, ffn)),
    )


def _router_elements(experts: int, chosen: int) -> int:
    """Logits cast to fp32, softmax and top k read them; the chosen weights are normalised."""
    return 9 * experts + 8 * chosen


def _expert_elements(chosen: int, hidden: int, ffn: int, kind: str) -> int:
    """Per row: gather 2, weighting to fp32 3, scatter 4, sum 2; then sum and cast of the token."""
    gated = activation(kind, ffn).elementwise + 3 * ffn
    return chosen * (gated + 11 * hidden) + 5 * hidden
