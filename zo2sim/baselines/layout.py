"""Which buffer each operation of a baseline touches: homes on the device, the host and NVMe."""

from dataclasses import dataclass

from zo2sim.baselines.training import Homes, Training
from zo2sim.policies import Shape
from zo2sim.schedule.ops import HEAD, TAIL, Buffer, BufferSpace

RING = 2
"""Gradients and activations pass through as many device buffers: one in use, one in transit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLayout:
    """Placement of weights, gradients, states and checkpoints. Head and tail never leave."""

    shape: Shape
    training: Training

    @property
    def homes(self) -> Homes:
        return self.training.homes

    @property
    def units(self) -> tuple[int, ...]:
        """Every unit in the order of the forward pass."""
        return (HEAD, *range(self.shape.num_blocks), TAIL)

    @property
    def num_slots(self) -> int:
        """Slots in use."""
        streams = self.homes.weights != "device"
        return min(self.training.num_slots, self.shape.num_blocks) if streams else 0

    def is_streamed(self, unit: int) -> bool:
        """Blocks that live off the device pass through slots."""
        return unit >= 0 and self.homes.weights != "device"

    def weights(self, unit: int) -> Buffer:
        """Where the unit's weights are while it computes."""
        if self.is_streamed(unit):
            return Buffer(BufferSpace.SLOT, unit % self.num_slots)
        return Buffer(BufferSpace.RESIDENT, unit)

    def home_weights(self, unit: int) -> Buffer:
        """Where the optimizer leaves a streamed block's new weights."""
        return Buffer(BufferSpace.NVME if self.homes.weights == "nvme" else BufferSpace.HOST, unit)

    def upload_source(self, block: int) -> Buffer:
        """What an upload reads."""
        if self.homes.weights == "nvme":
            return Buffer(BufferSpace.STAGE_IN, block % self.num_slots)
        return Buffer(BufferSpace.HOST, block)

    def read_by_pass(self, unit: int) -> tuple[Buffer, ...]:
        """Weights that a pass through the unit reads; a tied tail reads the head's."""
        tied = unit == TAIL and self.shape.tied
        return (self.weights(unit), *((Buffer(BufferSpace.RESIDENT, HEAD),) if tied else ()))

    def checkpoint(self, block: int) -> Buffer:
        """What the block's backward pass starts from, on the device."""
        stays = self.homes.checkpoints == "device"
        return Buffer(BufferSpace.CHECKPOINT, block if stays else block % RING)

    def host_checkpoint(self, block: int) -> Buffer:
        return Buffer(BufferSpace.HOST_CHECKPOINT, block)

    def gradient(self, unit: int) -> Buffer:
        """The unit's gradient on the device; blocks share a ring where it does not stay."""
        passes = unit >= 0 and self.homes.gradients != "device"
        return Buffer(BufferSpace.GRADIENT, unit % RING if passes else unit)

    def written_by_backward(self, unit: int) -> tuple[Buffer, ...]:
        """Gradients that the unit's backward pass adds to; a tied tail adds to the head's."""
        tied = unit == TAIL and self.shape.tied
        return (self.gradient(unit), *((self.gradient(HEAD),) if tied else ()))

    def adds_to(self, unit: int, microbatch: int) -> tuple[Buffer, ...]:
        """Gradients that hold a part of the sum already when the unit's backward pass starts."""
        shared = unit == HEAD and self.shape.tied
        if self.homes.gradients == "device" and microbatch > 0:
            return self.written_by_backward(unit)
        return (self.gradient(HEAD),) if shared else ()

    def host_gradient(self, unit: int) -> Buffer:
        """A unit's gradient on the host: a ring where it is used up at once."""
        used_up = self.homes.step_in_backward or self.homes.gradients == "nvme"
        passes = unit >= 0 and used_up and self.training.microbatches == 1
        return Buffer(BufferSpace.HOST_GRADIENT, unit % RING if passes else unit)

    def stage(self, unit: int) -> Buffer:
        """Host staging of a unit's optimizer states."""
        return Buffer(BufferSpace.STATE_STAGE, unit % self.homes.state_buffers)
