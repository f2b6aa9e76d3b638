"""Constants of a host's cores: a row each, with its unit, its range, its start and what it prices.

A new constant needs its row here, and to be counted where operations take it (`zo2sim.cost.cpu`).
"""

from dataclasses import dataclass, field

from zo2sim.machines.quantity import Quantity, check_part, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The host's own cores as the device: what one core takes, in fp32, operator by operator.

    Every operation takes the sum of its amounts, each divided by a rate or multiplied by a time
    (`zo2sim.cost.cpu` counts them; `analysis.fits.law` fits them).
    """

    gemm_flops_per_s: Quantity = field(metadata=within(1e7, 1e15, start_s=1e-11))
    """Arithmetic of matrix products."""
    gemm_weight_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-10))
    """Weights that a product packs first."""
    gemm_output_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-10))
    """Outputs that a product opens with its bias."""
    attention_flops_per_s: Quantity = field(metadata=within(1e7, 1e15, start_s=2e-11))
    """Arithmetic of both products of fused attention."""
    softmax_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=1e-9))
    """Pairs of query and key that attention visits."""
    elementwise_bytes_per_s: Quantity = field(metadata=within(1e6, 1e15, start_s=5e-11))
    """What element-wise operators read and write."""
    loss_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=1e-9))
    """Logits."""
    launch_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=5e-6))
    """An operator in a block."""
    outer_launch_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-5))
    """An operator of head or tail, between which a model does more in Python."""
    block_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-4))
    """What a block's modules do in Python beside their operators."""
    cold_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-4))
    """What a block's forward loses where its core slept before it."""
    lane_start_s: Quantity = field(metadata=within(1e-9, 1e0, start_s=1e-3))
    """A lane's thread, and all that the model does in Python before its first block."""
    lane_end_s: Quantity = field(metadata=within(1e-9, 1e0, start_s=3e-4))
    """What the loss takes but its logits."""
    gaussian_perturb_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-9))
    """Elements of W+ or W-, with their noise."""
    rademacher_perturb_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=4e-10))
    """The same."""
    gaussian_update_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-9))
    """Draws of an update."""
    rademacher_update_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=4e-10))
    """The same."""
    pass_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=3e-10))
    """Elements on which a record of an update works, or that W- takes from W+'s draw."""
    touched_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-10))
    """Weights that come and go once in a pass of updates."""
    round_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-10))
    """Weights of a narrow master, rounded after every record."""
    encode_plain_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=3e-10))
    """Elements into a wire format without scales."""
    encode_scaled_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-9))
    """Into one with scales, which takes several passes over every row."""
    decode_plain_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=3e-10))
    """Out of a wire format without scales."""
    decode_scaled_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=6e-10))
    """Out of one with scales."""
    decode_int8_elements_per_s: Quantity | None = field(
        default=None, metadata=within(1e5, 1e15, start_s=5e-10)
    )
    """Frozen weights out of eight bits; None: as out of a format with scales."""
    decode_int4_elements_per_s: Quantity | None = field(
        default=None, metadata=within(1e5, 1e15, start_s=8e-10)
    )
    """The same out of four bits."""
    spilled_elements_per_s: Quantity = field(metadata=within(1e5, 1e15, start_s=2e-10))
    """Weights that a core built and no longer has near."""
    build_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=2e-4))
    """Begins the weights of one sign, when nothing of them is in a cache."""
    pass_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=2e-4))
    """Begins an update, likewise."""
    call_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=4e-5))
    """One kernel of noise or of the wire codec on one tensor."""
    beside_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=5e-5))
    """What an operation loses to a copy that starts beside it."""
    gap_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=5e-5))
    """From the end of an operation to the next one of the thread that computes."""
    wake_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-4))
    """What a thread takes to wake up that waited for another one."""
    copy_start_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=3e-4))
    """The same of a copy's thread beside lanes."""
    loss_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=2e-4))
    """The projected gradients, once the lanes' losses are there."""
    throttle_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=2e-4))
    """The end of a copy through a limited link."""
    turnaround_s: Quantity = field(metadata=within(1e-9, 1e0, start_s=1e-3))
    """Between a step's loss and the next step's first operation."""
    turnaround_operation_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=3e-5))
    """There, for every operation of a step."""
    turnaround_lane_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=1e-4))
    """There, for every lane."""
    trip_s: Quantity = field(metadata=within(1e-9, 1e-1, start_s=5e-4))
    """What a trip's first operation loses, where a step has several: the host enqueues the rest."""
    crowded_ratio: Quantity | None = field(default=None, metadata=within(1.0, 1e2))
    """How many times as long products and passes take while every other core works on a block, too;
    None: not measured, as if devices that are parts of these cores did not slow each other."""
    crowded_launch_ratio: Quantity | None = field(default=None, metadata=within(1.0, 1e2))
    """The same of what is there each time, as launches are, which one interpreter makes for all."""
    crowded_misfit_ratio: Quantity | None = field(default=None, metadata=within(1e-6, 1e1))
    """`misfit_ratio` of runs whose devices are parts of these cores; None: not measured."""
    misfit_ratio: Quantity = field(metadata=within(1e-6, 1e1))
    """Relative standard deviation of runs' steps around what a fit without them predicts."""
    jitter_ratio: Quantity = field(metadata=within(1e-6, 1e1))
    """That of the same run repeated."""
    together_ratio: Quantity = field(metadata=within(1e-6, 1e2))
    """By how much the errors of constants cancel in a step (`analysis.fits.machine`)."""
    large_reference_s: Quantity = field(metadata=within(1e-6, 1e3))
    """The larger of the runs that all others took turns with: it tells how the machine drifts."""
    small_reference_s: Quantity = field(metadata=within(1e-6, 1e3))
    """The smaller one."""

    def __post_init__(self) -> None:
        check_part("cpu", self)
