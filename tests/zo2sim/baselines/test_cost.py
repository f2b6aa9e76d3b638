"""What first-order operations cost: directions, bytes, and the backward pass beside the forward."""

import pytest

from zo2sim.baselines import Method, Training, TrainingCase, predict
from zo2sim.baselines.cost import CPU_ADAM_ELEMENTS_PER_S, TrainingCost
from zo2sim.baselines.traffic import Code, traffic
from zo2sim.cost import CostModel
from zo2sim.machines.file import named
from zo2sim.machines.machine import Machine
from zo2sim.machines.what_if import replace
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.schedule.ops import Buffer, BufferSpace, Kind, Op, Stream
from zo2sim.simulate.work import Resource

MODEL = preset("opt-1.3b")
BLOCK_ELEMENTS = MODEL.blocks[0].elements
A100 = named("a100-sxm-80gb")


def cost(method: Method = Method.FUYOU, machine: Machine = A100, **fields: object) -> TrainingCost:
    training = Training(method=method, **fields)  # pyright: ignore[reportArgumentType]
    return TrainingCost(model=MODEL, machine=machine, training=training)


def op(kind: Kind, *, unit: int = 0, trip: int = 1, reads: tuple[Buffer, ...] = ()) -> Op:
    return Op(kind=kind, stream=Stream.COMPUTE, unit=unit, trip=trip, reads=reads)


def seconds(priced: TrainingCost, kind: Kind, trip: int = 1) -> float:
    return float(priced(op(kind, trip=trip)).alone_s(priced.rates))


def passes_s(nbytes: float) -> float:
    """Element-wise kernels over so many bytes."""
    return nbytes / A100.device.pass_bytes_per_s


def test_backward_takes_about_twice_as_long_as_forward():
    priced = cost(checkpointing=True)
    assert priced.backward_s(0) / priced.forward_s(0) == pytest.approx(2.0, rel=0.15)


def test_a_checkpoint_costs_another_forward_pass_of_every_block():
    again, kept = cost(Method.ADAMW), cost(Method.ADAMW, checkpointing=False)
    difference_s = seconds(again, Kind.BACKWARD) - seconds(kept, Kind.BACKWARD)
    assert difference_s == pytest.approx(again.forward_s(0))
    assert again(op(Kind.BACKWARD, unit=-2)) == kept(op(Kind.BACKWARD, unit=-2))


def test_eager_attention_takes_longer():
    assert cost(attention="eager").forward_s(0) > 1.2 * cost().forward_s(0)
    assert cost(attention="eager").backward_s(0) > 1.2 * cost().backward_s(0)


def test_a_block_takes_its_products_and_its_traffic():
    """Two products of attention forward, four backward; each linear layer once, and twice."""
    priced, tokens = cost(attention="eager", batch=4, sequence=512), 4 * 512
    gemm_s, shape = priced.setting.kernels.gemm_s, MODEL.blocks[0]
    moved = traffic(shape, hidden=2048, sequence=512, code=Code.EAGER)
    scores_s, result_s = gemm_s(4 * 32 * 512, 512, 64), gemm_s(4 * 32 * 512, 64, 512)
    linear_s = sum(g.count * gemm_s(tokens, g.n, g.k) for g in shape.gemms)
    inputs_s = sum(g.count * gemm_s(tokens, g.k, g.n) for g in shape.gemms)
    weights_s = sum(g.count * gemm_s(g.n, g.k, tokens) for g in shape.gemms)
    assert priced.forward_s(0) == pytest.approx(
        linear_s + scores_s + result_s + passes_s(tokens * moved.forward_bytes)
    )
    assert priced.backward_s(0) == pytest.approx(
        inputs_s + weights_s + scores_s + 3 * result_s + passes_s(tokens * moved.backward_bytes)
    )


def test_the_program_of_a_block_can_be_another_one():
    priced = cost(attention="eager")
    spelled = TrainingCost(
        model=MODEL, machine=A100, training=priced.training, code=Code.TRANSFORMERS
    )
    assert spelled.backward_s(0) > priced.backward_s(0)


@pytest.mark.parametrize(("trip", "nbytes"), [(1, 8), (3, 8 + 6), (5, 8 + 6 + 34)])
def test_zero_offload_passes_over_gradients_before_they_leave(trip: int, nbytes: int):
    """Of three microbatches: bucketed, bucketed and summed, and sent."""
    fields = {"attention": "eager", "microbatches": 3}
    there, here = cost(Method.ZERO_OFFLOAD, **fields), cost(Method.ADAMW, **fields)
    difference_s = seconds(there, Kind.BACKWARD, trip) - seconds(here, Kind.BACKWARD, trip)
    assert difference_s == pytest.approx(passes_s(nbytes * BLOCK_ELEMENTS), rel=1e-6)


def test_the_hosts_step_takes_what_was_measured_whatever_the_number_of_cores():
    for cores in (16, 48):
        work = cost(machine=replace(A100, "host.num_cores", cores))(op(Kind.HOST_OPTIMIZE))
        assert work.amounts[Resource.CPU] / cores == pytest.approx(
            BLOCK_ELEMENTS / CPU_ADAM_ELEMENTS_PER_S
        )


@pytest.mark.parametrize(
    ("kind", "resource", "bytes_per_element"),
    [
        (Kind.H2D, Resource.LINK_H2D, 2),
        (Kind.GRADIENT_D2H, Resource.LINK_D2H, 2),
        (Kind.READ, Resource.NVME_READ, 2),
        (Kind.STATE_READ, Resource.NVME_READ, 12 + 4),
        (Kind.STATE_WRITE, Resource.NVME_WRITE, 12 + 2),
        (Kind.GRADIENT_WRITE, Resource.NVME_WRITE, 4),
    ],
)
def test_bytes_per_element_of_zero_infinity(kind: Kind, resource: Resource, bytes_per_element: int):
    work = cost(Method.ZERO_INFINITY)(op(kind))
    assert work.amounts[resource] == BLOCK_ELEMENTS * bytes_per_element


def test_states_carry_no_gradient_where_it_stays_on_the_host():
    assert cost()(op(Kind.STATE_READ)).amounts[Resource.NVME_READ] == BLOCK_ELEMENTS * 12


def test_spills_are_hidden_states_of_one_microbatch():
    priced = cost(batch=3, sequence=128)
    nbytes = 3 * 128 * MODEL.hidden * 2
    assert priced(op(Kind.SPILL)).amounts[Resource.LINK_D2H] == nbytes
    assert priced(op(Kind.RESTORE)).amounts[Resource.LINK_H2D] == nbytes


def test_a_summed_gradient_is_read_and_written_on_the_host():
    priced = cost(Method.ZERO_OFFLOAD, microbatches=2)
    summed = op(Kind.GRADIENT_D2H, reads=(Buffer(BufferSpace.HOST_GRADIENT, 0),))
    extra = (
        priced(summed).amounts[Resource.DRAM] - priced(op(Kind.GRADIENT_D2H)).amounts[Resource.DRAM]
    )
    assert extra == 8 * BLOCK_ELEMENTS


@pytest.mark.parametrize("method", [Method.ZERO_INFINITY, Method.FUYOU])
def test_a_machine_without_nvme_is_refused(method: Method):
    with pytest.raises(ValueError, match=r"this-host: method=.* must have a section \[nvme\]"):
        cost(method, machine=named("this-host"))


@pytest.mark.parametrize("kind", [Kind.UPDATE, Kind.D2H])
def test_zeroth_order_operations_have_no_price_here(kind: Kind):
    with pytest.raises(ValueError, match=f"{kind} is no operation of first-order training"):
        cost()(op(kind))


def test_first_order_operations_have_none_there():
    model = CostModel.of(MODEL, A100, Plan(), Recipe())
    with pytest.raises(ValueError, match=r"BACKWARD is first-order: zo2sim.baselines prices it"):
        model(op(Kind.BACKWARD))


@pytest.mark.parametrize("method", list(Method))
def test_no_step_beats_its_bound_nor_the_peak(method: Method):
    machine = named("rtx-4090-24gb")
    case = TrainingCase(
        model=MODEL, machine=machine, training=Training(method=method, batch=4, sequence=1024)
    )
    found = predict(case)
    assert found.gap >= -1e-9
    assert found.flops_per_s < machine.device.half_flops_per_s.value
    assert found.tokens_per_s == pytest.approx(4 * 1024 / found.step_s)


def test_hiding_the_hosts_step_is_what_fuyou_gains_over_zero_infinity():
    def step_s(method: Method) -> float:
        training = Training(method=method, batch=16, sequence=1024)
        return predict(TrainingCase(model=MODEL, machine=A100, training=training)).step_s

    assert step_s(Method.FUYOU) < 0.8 * step_s(Method.ZERO_INFINITY)
