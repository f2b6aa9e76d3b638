"""A model of a folder, built at once, and its weights, read when they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig

from zo2rt.backends.buffers import give_back_freed
from zo2rt.checkpoint.building import built, complete
from zo2rt.checkpoint.file import sha256
from zo2rt.checkpoint.formats import NotByShard, opened
from zo2rt.checkpoint.hollow import hollow_out
from zo2rt.checkpoint.keys import Keys
from zo2rt.checkpoint.quantised import QUANTISED

SINCE = (5, 24)
"""The first version whose tables of names and files were compared with ``from_pretrained``."""
_KEPT_BYTES = 32 << 20
"""So much may be read before the heap is trimmed: tensors that come and go between others leave
several times the largest of them behind (245 instead of 72 MB of a model of 404)."""
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class Checkpoint:
    """The model that ``kind.from_pretrained(folder, dtype=dtype)`` loads, without its weights.

    ``model`` is that class, in eval mode, with the same config, ties and buffers; its parameters
    are hollow (`zo2rt.checkpoint.hollow`). ``kind`` is a class of transformers, or one of its
    ``Auto`` classes. ``missing`` are parameters that the folder has no weights for: they are new,
    as ``from_pretrained`` makes them. ``unused`` are names that the class has no place for.
    ``told`` hears how many bytes every parameter takes that is read; ``folder`` is as it was given.

    Raises `NotByShard` where only ``from_pretrained`` can load the folder, and ``ValueError``
    naming a file or tensor that is missing, torn, or of another shape than the class needs.
    """

    def __init__(self, kind: Any, folder: Path, dtype: torch.dtype) -> None:
        here = transformers.__version__
        if tuple(map(int, here.split(".")[:2])) < SINCE:
            since = ".".join(map(str, SINCE))
            raise NotByShard(f"that takes transformers {since}; here is {here}")
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **_LOCAL)
        if type(config).extra_files:
            raise NotByShard("some of its weights are in files of their own")
        tensors = opened(folder, config.to_dict())
        for key in QUANTISED:
            vars(config).pop(key, None)
        self.told: Callable[[int], None] = lambda _: None
        self._since_given_back = 0
        self._hashes, self._digests = False, dict[Path, str]()
        self.folder = folder
        self.model, found = built(kind, folder, config, tensors, dtype)
        self.missing = tuple(sorted(found["missing_keys"]))
        self.unused = tuple(sorted(found["unexpected_keys"]))
        self._keys = keys = Keys.of(self.model, tensors)
        _check_shapes(found["mismatched_keys"], keys)
        _check_numbers(self.model, keys)
        complete(self.model, keys)
        read = {id(p): n for n, p in _all(self.model) if n in keys.sources}
        emptied = hollow_out(self.model)
        self._names: Mapping[nn.Parameter, str] = {p: read[id(old)] for old, p in emptied.items()}
        self._hollow = {p: p.data for p in self._names}

    def weights(self, parameter: nn.Parameter) -> Tensor:
        """What a parameter of ``model`` is to hold: read now, a tensor of its own.

        Of one that is not hollow, because nothing of it is stored, or not any more, what it holds.
        """
        if not self.is_read(parameter):
            return parameter.data
        name = self._names[parameter]
        if self._hashes:
            for path in self._files(name):
                self._digest(path)
        tensor = self._keys.read(name)
        self.told(tensor.nbytes)
        self._since_given_back += tensor.nbytes
        if self._since_given_back > _KEPT_BYTES:
            self._since_given_back = 0
            give_back_freed()
        return tensor

    @property
    def num_bytes(self) -> int:
        """What the parameters take that `weights` reads, each once."""
        return sum(p.nbytes for p in self._names if self.is_read(p))

    def settle(self) -> None:
        """Let the model hold all its weights, as ``from_pretrained`` does."""
        for parameter in self._names:
            parameter.data = self.weights(parameter)

    def sha256(self) -> Mapping[str, str]:
        """Of every file that holds weights of the model, by name; each is read whole, once.

        A file that changes later is refused when something of it is read.
        """
        files = {path for name in self._keys.sources for path in self._files(name)}
        return {path.name: self._digest(path) for path in sorted(files)}

    def hash_as_read(self) -> None:
        """From now on `sha256` sees a file when `weights` comes to it: both read it from disk once,
        where the system's cache has room for a file."""
        self._hashes = True

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = sha256(path)
        return self._digests[path]

    def _files(self, name: str) -> Iterator[Path]:
        return (path for one in self._keys.stored(name) for path in one.files)

    def is_read(self, parameter: nn.Parameter) -> bool:
        """Whether `weights` reads the parameter from the folder."""
        hollow = self._hollow.get(parameter)
        return hollow is not None and parameter.data_ptr() == hollow.data_ptr()


def _all(model: nn.Module) -> Any:
    return model.named_parameters(remove_duplicate=False)


def _check_shapes(mismatched: Any, keys: Keys) -> None:
    for name, stored, needed in sorted(mismatched):
        files = {path.name for one in keys.stored(name) for path in one.files}
        raise ValueError(
            f"{name} must have the shape {tuple(needed)} for the model of config.json; in "
            f"{', '.join(sorted(files))} it has {tuple(stored)}"
        )


def _check_numbers(model: nn.Module, keys: Keys) -> None:
    """A weight is no code of one."""
    for name, parameter in _all(model):
        for one in keys.stored(name) if name in keys.sources else ():
            if parameter.is_floating_point() and not one.dtype.is_floating_point:
                raise ValueError(
                    f"{one.files[0]}: {one.name} must be of floating-point numbers; got {one.dtype}"
                )
