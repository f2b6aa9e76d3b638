"""The steps of the published ZO2 and MeZO codes, as traces of their device allocations."""

from zo2sim.memory.published.allocations import AllocatorRun
from zo2sim.memory.published.allocator import Block
from zo2sim.models.shapes import Model, Parameter, Unit
from zo2sim.plan.choices import Recipe

NUM_STEPS = 2
"""The update appears in the second step; later ones repeat it."""
NUM_BLOCKS = 4
"""Blocks of ZO2 that are traced: two are alive at most, and further ones repeat the third."""

EMBEDDINGS = "embeddings of both lanes"
HIDDEN = "hidden states"
RESIDENT = "resident units"


def trace_zo2(model: Model, recipe: Recipe) -> tuple[AllocatorRun, int]:
    """The published ZO2 code: its trace, and the bytes reserved after the first step.

    The peak comes with the update of the second step. What later steps reserve on top depends on
    where fragments lie, which is finer than this account: the seven published NVML rows leave no
    room for another segment of the largest temporaries.
    """
    run = AllocatorRun(model=model, recipe=recipe)
    run.load(model.head, RESIDENT)
    run.load(model.tail, RESIDENT)
    run.stream = "compute"
    _zo2_step(run, updating=False)
    reserved_bytes = run.memory.reserved_bytes
    for _ in range(1, NUM_STEPS):
        _zo2_step(run, updating=True)
    return run, max(reserved_bytes, run.memory.peak_bytes)


def trace_mezo(model: Model, recipe: Recipe) -> tuple[AllocatorRun, int]:
    """The published MeZO code, everything on the device: its trace and the bytes reserved."""
    run = AllocatorRun(model=model, recipe=recipe, cache=[])
    units = (model.head, *model.blocks, model.tail)
    for unit in units:
        run.load(unit, RESIDENT if unit in (model.head, model.tail) else "resident blocks")
    parameters = tuple(p for unit in units for p in unit.parameters)
    for _ in range(2):  # +eps, -2 eps
        run.perturb(parameters)
        _mezo_forward(run)
    run.perturb(parameters)
    run.update(parameters)
    return run, run.memory.reserved_bytes


def _zo2_step(run: AllocatorRun, *, updating: bool) -> None:
    kept, hidden = _zo2_head(run, updating=updating)
    blocks = run.model.blocks[:NUM_BLOCKS]
    offloading: list[Block] = []
    resident = _upload(run, blocks[0])
    for unit, following in zip(blocks, (*blocks[1:], None), strict=True):
        run.drop(*offloading)  # the host offloads block i-1 right before it launches block i
        outputs = _zo2_block(run, unit, updating=updating)
        run.drop(*hidden)
        hidden, offloading = outputs, resident
        resident = [] if following is None else _upload(run, following)
    run.drop(*offloading)
    _zo2_tail(run, hidden, kept, updating=updating)


def _upload(run: AllocatorRun, unit: Unit) -> list[Block]:
    run.stream = "upload"
    blocks = run.load(unit, "streamed blocks")
    run.stream = "compute"
    return blocks


def _zo2_head(run: AllocatorRun, *, updating: bool) -> tuple[list[Block], list[Block]]:
    """Embeddings, masks and positions of both lanes stay bound for the whole traversal."""
    tokens, *others = run.model.head.parameters
    kept = _dual(run, (tokens,), EMBEDDINGS, run.hidden_bytes, updating=updating)
    kept += [causal_mask(run) for _ in range(2)]
    for other in others:
        kept += _dual(run, (other,), EMBEDDINGS, run.hidden_bytes, updating=updating)
    return kept, [run.take(HIDDEN, run.hidden_bytes) for _ in range(2)]


def _dual(
    run: AllocatorRun, parameters: tuple[Parameter, ...], name: str, nbytes: int, *, updating: bool
) -> list[Block]:
    """Update, +eps, lane 1, -2 eps, lane 2, +eps, of a unit that is one kernel."""
    if updating:
        run.update(parameters)
    outputs: list[Block] = []
    for _ in range(2):
        run.perturb(parameters)
        outputs.append(run.take(name, nbytes))
    run.perturb(parameters)
    return outputs


def _zo2_block(run: AllocatorRun, unit: Unit, *, updating: bool) -> list[Block]:
    if updating:
        run.update(unit.parameters)
    outputs: list[Block] = []
    for _ in range(2):
        run.perturb(unit.parameters)
        outputs.append(run.forward(unit))
    run.perturb(unit.parameters)
    return outputs


def _zo2_tail(run: AllocatorRun, hidden: list[Block], kept: list[Block], *, updating: bool) -> None:
    norms = tuple(p for p in run.model.tail.parameters if len(p.shape) == 1)
    normed = _dual(run, norms, HIDDEN, run.hidden_bytes, updating=updating)
    run.drop(*hidden, *kept)  # the decoder's frame is gone
    head = (_lm_head(run.model),)
    logits = _dual(run, head, "logits", run.logits_bytes, updating=updating)
    logits += [run.take("logits", run.logits_bytes) for _ in range(2)]  # shifted by one token
    for _ in range(2):
        with run.temporary("log-softmax", run.logits_bytes):
            pass
    run.drop(*logits, *normed)


def _lm_head(model: Model) -> Parameter:
    """The matrix that makes logits: the last of the tail, or the tied embedding."""
    matrices = [p for p in model.tail.parameters if len(p.shape) > 1]
    return matrices[-1] if matrices else model.head.parameters[0]


def causal_mask(run: AllocatorRun) -> Block:
    """The triangle, the padding mask twice inverted, and their sum, which is kept."""
    mask = run.mask_bytes
    with run.temporary("workspace", mask):
        with run.temporary("workspace", mask // 2):
            pass
        with run.temporary("workspace", mask):
            inverted = run.take("workspace", mask)
        with run.temporary("workspace", mask // 2), run.temporary("workspace", mask):
            run.drop(inverted)
            return run.take("causal masks of both lanes", mask)


def _mezo_forward(run: AllocatorRun) -> None:
    """One lane through the whole model; embeddings, mask and every key and value stay bound."""
    kept = [run.take(EMBEDDINGS, run.hidden_bytes) for _ in run.model.head.parameters]
    kept.append(causal_mask(run))
    hidden = run.take(HIDDEN, run.hidden_bytes)
    for unit in run.model.blocks:
        following = run.forward(unit)
        run.drop(hidden)
        hidden = following
    normed = run.take(HIDDEN, run.hidden_bytes)
    run.drop(hidden, *kept)
    logits = [run.take("logits", run.logits_bytes) for _ in range(2)]  # and shifted
    with run.temporary("log-softmax", run.logits_bytes):
        pass
    run.drop(normed, *logits)
    run.drop_cache()
