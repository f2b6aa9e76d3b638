"""What an engine's buffers hold, for those who look from outside: the weights of the model."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from zo2rt.checkpoint import Stored
from zo2rt.checkpoint.saving import save
from zo2rt.memory.room import free_host_bytes
from zo2rt.weights.residence import Residence
from zo2sim.memory.account import SHARD_BYTES


class Contents:
    """Of the updates that have been made: whoever calls has flushed, and lets nothing run.

    ``base`` is the model's folder that the run begins from anew whenever it goes on, if it does.
    """

    def __init__(self, model: nn.Module, residence: Residence, base: Path | None) -> None:
        self._model, self._residence, self._base = model, residence, base

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter of the model by name, read or decoded when it is drawn.

        It is in host memory, or pages of a file, and holds until something runs.
        """
        stored = self._stored
        return ((name, stored[p].read()) for name, p in self._model.named_parameters())

    def write(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        """As ``save_pretrained`` does; of a model with adapters of PEFT, these.

        What is on NVMe or in an integer format is in memory one tensor at a time, dense. Raises
        ``ValueError`` for the folder that the run goes on from.
        """
        self._check_apart(folder)
        model: Any = self._model
        if is_plain(model):
            save(model, folder, self._stored, shard_bytes=shard_bytes)
            return
        with self.savable():
            model.save_pretrained(folder, max_shard_size=shard_bytes)

    def whole(self) -> AbstractContextManager[None]:
        """Inside, every parameter shows its weights: those on NVMe as pages of the file.

        Those in an integer format are decoded where the host has room for all, or else empty.
        """
        return self._residence.whole(decoded=self._has_room)

    def savable(self) -> AbstractContextManager[None]:
        """The same for ``save_pretrained``: with those in an integer format empty where PEFT saves
        adapters without them."""
        return self._residence.whole(decoded=False) if _is_adapted(self._model) else self.whole()

    def give_back(self) -> None:
        """Let the parameters have tensors of their own for good, decoded as `whole` does."""
        self._residence.give_back(decoded=self._has_room)

    def show_blocks(self) -> None:
        """Let those have some that show nothing now."""
        self._residence.show_blocks(decoded=self._has_room)

    def _check_apart(self, folder: Path) -> None:
        if self._base is not None and folder.exists() and folder.samefile(self._base):
            raise ValueError(
                f"a model is saved beside what its run began from, of which the run's folder holds "
                f"no copy and without which it cannot go on; got {folder}; save to another folder"
            )

    @property
    def _has_room(self) -> bool:
        return self._residence.encoded_bytes <= free_host_bytes()

    @property
    def _stored(self) -> Mapping[nn.Parameter, Stored]:
        return {
            p.tensor: Stored(name=p.name, shape=p.shape, dtype=p.tensor.dtype, files=(), read=read)
            for p, read in self._residence.stored()
        }


def _is_adapted(model: nn.Module) -> bool:
    """Whether the model has adapters of PEFT: around it, or as transformers adds them."""
    return bool(getattr(model, "peft_config", None))


def is_plain(model: nn.Module) -> bool:
    """Whether all of the model is in its folder, under names that transformers knows."""
    return isinstance(model, PreTrainedModel) and not _is_adapted(model)
