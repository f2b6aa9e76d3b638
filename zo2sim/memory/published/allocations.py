"""What the published ZO2 and MeZO codes allocate on the device, in order, without running them.

Read from liangyuwang/zo2 (Apache-2.0): `zo2/optimizer/mezo_sgd/{zo,zo2}.py` and
`zo2/model/huggingface/opt/mezo_sgd/{zo,zo2}.py`, with the eager OPT attention of transformers 4.28,
PyTorch 2.4 and Python's rule that a name keeps its tensor until it is bound again. Three facts
decide the peak:

- weights are perturbed in place, tensor by tensor, with up to three temporaries of the tensor's
  size; the update has four at its worst;
- the eager softmax holds each score as fp16, as fp32 and as fp16 again: 8 bytes;
- allocation follows the host: a block is uploaded after the previous one was launched, so two
  blocks are alive only between launches, but the upload stream's pool keeps room for both.

`zo2sim.memory.published.steps` puts these parts together.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from zo2sim.memory.published.allocator import Block, CachingAllocator
from zo2sim.models.shapes import Model, Parameter, Unit
from zo2sim.plan.choices import Recipe

CUBLAS_WORKSPACE_BYTES = 2 * 4096 * 1024 + 8 * 16 * 1024
"""PyTorch's default `:4096:2:16:8`, in KiB, below compute capability 9.0 (CUDABlas notes)."""
CUBLASLT_WORKSPACE_BYTES = 1 << 20
"""PyTorch 2.4's default for a matrix product with a bias."""


@dataclass(slots=True)
class AllocatorRun:
    """One run of the published code against an allocator; mutable, as a run is.

    ``cache`` collects the keys and values that MeZO's forward keeps; None where none are kept.
    """

    model: Model
    recipe: Recipe
    memory: CachingAllocator = field(default_factory=CachingAllocator)
    stream: str = "default"
    cache: list[Block] | None = None
    _cublas: Block | None = None

    @property
    def hidden_bytes(self) -> int:
        """One hidden state: (batch, seq, hidden)."""
        tokens = self.recipe.batch * self.recipe.sequence
        return tokens * self.model.hidden * self.recipe.compute_dtype.bytes

    @property
    def mask_bytes(self) -> int:
        """One additive causal mask: (batch, 1, seq, seq)."""
        return self.recipe.batch * self.recipe.sequence**2 * self.recipe.compute_dtype.bytes

    @property
    def logits_bytes(self) -> int:
        """(batch, seq, vocab)."""
        tokens = self.recipe.batch * self.recipe.sequence
        return tokens * self.model.vocab * self.recipe.compute_dtype.bytes

    def take(self, name: str, nbytes: int) -> Block:
        return self.memory.allocate(name, nbytes, self.stream)

    def drop(self, *blocks: Block) -> None:
        for block in blocks:
            self.memory.release(block)

    @contextmanager
    def temporary(self, name: str, nbytes: int) -> Generator[None]:
        """A tensor that lives as long as the body."""
        block = self.take(name, nbytes)
        yield
        self.drop(block)

    def parameter_bytes(self, parameter: Parameter) -> int:
        return parameter.elements * self.recipe.storage_dtype.bytes

    def load(self, unit: Unit, name: str) -> list[Block]:
        """One allocation per tensor, as `module.to` makes them."""
        return [self.take(name, self.parameter_bytes(p)) for p in unit.parameters]

    def perturb(self, parameters: tuple[Parameter, ...]) -> None:
        """``add_(scale * z * eps)``: z and two products; z outlives the loop's next draw."""
        self._noise_loop(parameters, updating=False)

    def update(self, parameters: tuple[Parameter, ...]) -> None:
        """``sub_(lr * (g * z + wd * theta))``: z, both products and their sum."""
        self._noise_loop(parameters, updating=True)

    def _noise_loop(self, parameters: tuple[Parameter, ...], *, updating: bool) -> None:
        z: Block | None = None
        for parameter in parameters:
            nbytes = self.parameter_bytes(parameter)
            drawn = self.take("noise", nbytes)
            if z is not None:
                self.drop(z)
            z = drawn
            decayed = updating and len(parameter.shape) > 1
            self._products(nbytes, 3 if decayed else 2)
        if z is not None:
            self.drop(z)

    def _products(self, nbytes: int, count: int) -> None:
        name = "temporaries of perturbation and update"
        blocks = [self.take(name, nbytes) for _ in range(count)]
        if count == 3:  # lr * (the sum): both summands are gone by then
            self.drop(*blocks[:2])
            blocks = [blocks[2], self.take(name, nbytes)]
        self.drop(*blocks)

    def attention(self, unit: Unit) -> Block:
        """Eager attention of one lane; returns its output. Its input is held by the caller."""
        hid = self.hidden_bytes
        heads = max((a.heads for a in unit.attentions), default=1)
        scores = heads * self.mask_bytes  # (batch, heads, seq, seq), compute dtype
        query, key, value = (self._projection() for _ in range(3))
        raw = self.take("attention scores", scores)  # q k^T
        for _ in ("+ mask", "max with the smallest number"):
            following = self.take("attention scores", scores)
            self.drop(raw)
            raw = following
        wide = self.take("attention scores", scores * 4 // self.recipe.compute_dtype.bytes)
        narrow = self.take("attention scores", scores)  # the cast back to the compute dtype
        self.drop(wide, raw)
        with self.temporary("workspace", hid), self.temporary("workspace", hid):
            # probabilities x value, then the heads beside each other, then the projection
            out = self.take("hidden states", hid)
        self.drop(narrow)
        self._keys_and_values(key, value)
        self.drop(query)
        return out

    def _projection(self) -> Block:
        with self.temporary("workspace", self.hidden_bytes):
            if self._cublas is None:
                self._cublas = self.take("cuBLAS workspace", CUBLAS_WORKSPACE_BYTES)
            with self.temporary("cuBLASLt workspace", CUBLASLT_WORKSPACE_BYTES):
                pass
            return self.take("query, key, value", self.hidden_bytes)

    def _keys_and_values(self, key: Block, value: Block) -> None:
        """MeZO runs the model's own forward, which caches them; ZO2 does not ask for a cache."""
        if self.cache is None:
            self.drop(key, value)
        else:
            self.cache += [key, value]

    def drop_cache(self) -> None:
        """Free every cached key and value: the forward's frame is gone."""
        cache, self.cache = self.cache or [], []
        self.drop(*cache)

    def forward(self, unit: Unit) -> Block:
        """One lane through one block; returns the new hidden state."""
        hid, mlp = self.hidden_bytes, self.hidden_bytes * intermediate_ratio(self.model, unit)
        norm = self.take("workspace", hid)
        out = self.attention(unit)
        self.drop(norm)
        residual = self._dropout_and_add(out)
        norm = self.take("workspace", hid)
        wide = self.take("workspace", mlp)  # fc1
        self.drop(norm)
        with self.temporary("workspace", mlp):  # the activation function's result
            self.drop(wide)
            out = self.take("hidden states", hid)  # fc2
        result = self._dropout_and_add(out)
        self.drop(residual)
        return result

    def _dropout_and_add(self, out: Block) -> Block:
        """Dropout is on (the model is in training mode): result and a mask of one byte each."""
        hid = self.hidden_bytes
        dropped = self.take("hidden states", hid)
        with self.temporary("workspace", hid // self.recipe.compute_dtype.bytes):
            pass
        self.drop(out)
        result = self.take("hidden states", hid)
        self.drop(dropped)
        return result


def intermediate_ratio(model: Model, unit: Unit) -> int:
    """Width of the MLP in hidden sizes, 4 where the block lists no linear layers."""
    widest = max((out for out, _ in unit.linear_shapes), default=4 * model.hidden)
    return max(1, widest // model.hidden)
