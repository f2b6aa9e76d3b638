"""Bytes that training moves in a block: counted by hand, and by PyTorch's own dispatcher."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from zo2sim.baselines.traffic import Code, biased_outputs, has_dense_layers, traffic
from zo2sim.models.config import from_config
from zo2sim.models.presets import preset

HIDDEN, HEADS, SEQUENCE, BATCH = 16, 2, 8, 3
CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 32,
    "n_positions": SEQUENCE,
    "n_embd": HIDDEN,
    "n_layer": 1,
    "n_head": HEADS,
}
BLOCK = from_config(CONFIG, name="tiny").blocks[0]


def per_token(code: Code) -> dict[str, tuple[int, int]]:
    """Bytes per token, forward and backward, by operation."""
    found = traffic(BLOCK, hidden=HIDDEN, sequence=SEQUENCE, code=code)
    return {o.name: (o.elements * o.forward, o.elements * o.backward) for o in found.operations}


def test_a_fused_block_by_hand():
    """16 wide, 64 in the MLP, 48 + 16 + 64 + 16 = 144 biased outputs; 2 bytes per element."""
    assert per_token(Code.FUSED) == {
        "two norms": (2 * 16 * 2 * 2, 2 * 16 * (3 + 2) * 2),
        "two residual additions": (2 * 16 * 3 * 2, 2 * 16 * 3 * 2),
        "gradients of biases": (0, 144 * 2),
        "joined gradients": (0, 3 * 16 * 2 * 2),
        "activation function": (64 * 2 * 2, 64 * 3 * 2),
        "two dropouts": (2 * 16 * (2 + 2 + 1), 2 * 16 * (2 + 1 + 2)),
    }


def test_operator_by_operator_adds_biases_heads_and_passes_over_scores():
    """Two heads over eight positions are 16 scores per token."""
    fused, eager = per_token(Code.FUSED), per_token(Code.EAGER)
    assert {name: eager[name] for name in eager if name not in fused} == {
        "add biases": (144 * 2 * 2, 0),
        "gather queries and values": (32 * 2 * 2, 32 * 2 * 2),
        "gather keys": (16 * 2 * 2, 0),
        "gather the result": (16 * 2 * 2, 16 * 2 * 2),
        "scale scores": (16 * 4, 16 * 4),
        "mask scores": (16 * 4, 16 * 4),
        "subtract from masked scores": (16 * 4, 0),
        "softmax": (16 * 4, 16 * 6),
        "dropout of scores": (16 * 5, 16 * 5),
    }


def test_totals_are_sums():
    found = traffic(BLOCK, hidden=HIDDEN, sequence=SEQUENCE, code=Code.EAGER)
    forward, backward = zip(*per_token(Code.EAGER).values(), strict=True)
    assert (found.forward_bytes, found.backward_bytes) == (sum(forward), sum(backward))


def test_a_gated_block_has_no_dropout_and_rotates():
    block = preset("llama-2-7b").blocks[0]
    found = traffic(block, hidden=4096, sequence=2048, code=Code.FUSED)
    names = [o.name for o in found.operations]
    assert "two dropouts" not in names
    assert names[-3:] == [
        "gated activation function",
        "gradients of the gate's input",
        "rotation of queries and keys",
    ]
    assert found.operations[-3].elements == 11008
    assert found.operations[-1].elements == 2 * 4096


def test_biases_are_found_by_name():
    assert biased_outputs(BLOCK) == 144
    assert biased_outputs(preset("llama-2-7b").blocks[0]) == 0
    assert biased_outputs(preset("opt-1.3b").blocks[0]) == 9 * 2048


def test_experts_are_not_dense():
    assert has_dense_layers(BLOCK)
    assert not has_dense_layers(preset("mixtral-8x7b").blocks[0])


# The same block in PyTorch, in half precision: every operation as the dispatcher sees it

VIEWS = ("view", "t", "transpose", "permute", "expand", "split", "_unsafe_view", "detach", "slice")
PRODUCTS = ("mm", "bmm")
NAMES = {
    "native_layer_norm": "two norms",
    "native_layer_norm_backward": "two norms",
    "gelu": "activation function",
    "gelu_backward": "activation function",
    "_softmax": "softmax",
    "_softmax_backward_data": "softmax",
    "native_dropout_backward": "dropouts",
    "native_dropout": "dropouts",
    "clone": "gather",
    "cat": "joined gradients",
    "div": "scale scores",
    "sub": "subtract from masked scores",
    "add_": "add biases",
    "sum": "gradients of biases",
}


class Counting(TorchDispatchMode):
    """Bytes of activations that operations read and write, by the names of the table."""

    def __init__(self, weights: Sequence[torch.Tensor], smallest: int) -> None:
        super().__init__()
        self.weights = {w.data_ptr() for w in weights}
        self.smallest, self.nbytes = smallest, Counter[str]()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in (*VIEWS, *PRODUCTS):
            self.nbytes[self._name(name, args)] += self._bytes(args) + self._bytes(out)
        return out

    def _name(self, name: str, args: tuple[Any, ...]) -> str:
        if name == "mul":
            return "mask scores"
        if name == "add":
            return "two residual additions"
        return NAMES.get(name, name)

    def _bytes(self, value: Any) -> int:
        if isinstance(value, torch.Tensor):
            activation = value.numel() >= self.smallest and value.data_ptr() not in self.weights
            return value.numel() * value.element_size() if activation else 0
        if isinstance(value, tuple | list):
            return sum(map(self._bytes, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return 0


def parameter(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float16).mul_(0.1).requires_grad_()


def megatron_block() -> tuple[list[torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """A GPT-2 block, each step an operation of its own; weights, and the function."""
    f, width = torch.nn.functional, 4 * HIDDEN
    norms = [parameter(HIDDEN) for _ in range(4)]
    matrices = [
        parameter(HIDDEN, n * HIDDEN) if n > 0 else parameter(width, HIDDEN) for n in (3, 1, 4, 0)
    ]
    biases = [parameter(n) for n in (3 * HIDDEN, HIDDEN, width, HIDDEN)]
    mask = torch.ones(SEQUENCE, SEQUENCE, dtype=torch.float16).tril()

    def linear(x: torch.Tensor, number: int) -> torch.Tensor:
        return (x @ matrices[number]).add_(biases[number])

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(BATCH, SEQUENCE, HEADS, -1).permute(0, 2, 1, 3)

    def attention(x: torch.Tensor) -> torch.Tensor:
        query, key, value = map(heads, linear(x, 0).split(HIDDEN, dim=-1))
        scores = (query @ key.transpose(-1, -2)) / 2.0
        scores = torch.mul(scores, mask) - 10000.0 * (1.0 - mask)
        shares = torch.native_dropout(torch.softmax(scores, dim=-1), 0.1, True)[0]
        result = (shares @ value).permute(0, 2, 1, 3).contiguous()
        return torch.native_dropout(linear(result.view(x.shape), 1), 0.1, True)[0]

    def block(x: torch.Tensor) -> torch.Tensor:
        x = x + attention(f.layer_norm(x, (HIDDEN,), norms[0], norms[1]))
        inner = f.gelu(linear(f.layer_norm(x, (HIDDEN,), norms[2], norms[3]), 2))
        return x + torch.native_dropout(linear(inner, 3), 0.1, True)[0]

    return [*norms, *matrices, *biases], block


def counted() -> tuple[Counter[str], Counter[str]]:
    """Bytes that PyTorch's operations move in a forward and in a backward pass of the block."""
    torch.manual_seed(0)
    weights, block = megatron_block()
    x = torch.randn(BATCH, SEQUENCE, HIDDEN, dtype=torch.float16, requires_grad=True)
    smallest = BATCH * SEQUENCE * HIDDEN
    with Counting(weights, smallest) as forward:
        y = block(x)
    gradient = torch.randn_like(y)
    with Counting(weights, smallest) as backward:
        torch.autograd.grad(y, [x, *weights], gradient)
    return forward.nbytes, backward.nbytes


def merged(table: Mapping[str, tuple[int, int]], way: int) -> Counter[str]:
    """The table with both kinds of gathering, and both kinds of dropout, in one entry."""
    found = Counter[str]()
    for name, ways in table.items():
        word = next((w for w in ("gather", "dropout") if w in name and "gradients" not in name), "")
        found["dropouts" if word == "dropout" else word or name] += ways[way] * BATCH * SEQUENCE
    return +found


def test_pytorch_moves_in_the_forward_pass_what_the_table_says():
    assert counted()[0] == merged(per_token(Code.EAGER), 0)


def test_pytorch_moves_in_the_backward_pass_what_the_table_says():
    """But for a norm: one operation here, two kernels on a GPU, each reading both operands."""
    found, table = counted()[1], merged(per_token(Code.EAGER), 1)
    assert table.pop("two norms") - found.pop("two norms") == 2 * 2 * 2 * HIDDEN * BATCH * SEQUENCE
    assert found == table


def test_gelu_in_eight_kernels_moves_eighteen_elements_and_twenty_eight_back():
    """The table, and PyTorch."""
    table = per_token(Code.TRANSFORMERS)
    kernels = ("activation function", "GELU in eight kernels")
    said = [sum(table[name][way] for name in kernels) for way in (0, 1)]
    x = torch.randn(BATCH * SEQUENCE, 4 * HIDDEN, dtype=torch.float16, requires_grad=True)
    with Counting([], smallest=x.shape[0]) as forward:
        y = 0.5 * x * (1.0 + torch.tanh(0.8 * (x + 0.044715 * torch.pow(x, 3.0))))
    gradient = torch.randn_like(y)
    with Counting([], smallest=x.shape[0]) as backward:
        torch.autograd.grad(y, [x], gradient)
    assert said == [64 * 18 * 2, 64 * 28 * 2]
    assert [c.nbytes.total() for c in (forward, backward)] == [n * BATCH * SEQUENCE for n in said]
