"""Where a model keeps its blocks, found without knowing the model.

A Hugging Face model says in ``_no_split_modules`` which classes must stay whole; the
``nn.ModuleList`` that holds modules of such a class holds the blocks. Wrappers (PEFT, containers
of the user) change neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Self

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

_CHOOSE = (
    "say which, in order of execution, as in blocks='encoder.layers,decoder.layers' (of an "
    "Objective, or --blocks of run)"
)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks in execution order, and what `nn.Module.named_modules` calls each of them."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]

    def __post_init__(self) -> None:
        if not self.modules:
            raise ValueError("a model must have at least 1 block; got none")
        seen: dict[int, int] = {}
        for number, module in enumerate(self.modules):
            first = seen.setdefault(id(module), number)
            if first != number:
                raise ValueError(
                    f"{self.path}: every block must be a module of its own; blocks {first} and "
                    f"{number} are the same module, which would run twice in one traversal"
                )

    @classmethod
    def at(cls, model: nn.Module, *paths: str) -> Self:
        """The entries of these lists, one list after another."""
        names, modules = list[str](), list[nn.Module]()
        for path in paths:
            name, entries = _list_at(model, path)
            for number, module in enumerate(entries):
                names.append(f"{name}.{number}")
                modules.append(module)
        return cls(names=tuple(names), modules=tuple(modules))

    @property
    def path(self) -> str:
        """The list that holds the blocks; where there are several, with commas between them."""
        return ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in self.names))

    def title(self, block: int) -> str:
        """``block 3 (model.layers.3)``, by its name in ``named_modules()``."""
        return f"block {block} ({self.names[block]})"

    def block_of(self, name: str) -> int | None:
        """The block that a parameter or buffer of this name belongs to, or None."""
        outer = accumulate(name.split("."), "{}.{}".format)
        return next((self._numbers[n] for n in outer if n in self._numbers), None)

    def ancestors(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Modules around all blocks, outermost first: a forward pass enters each of them once."""
        parents = [name.split(".")[:-2] for name in self.names]
        parts = [level[0] for level in takewhile(_agree, zip(*parents, strict=False))]
        return tuple(model.get_submodule(".".join(parts[:n])) for n in range(len(parts) + 1))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


def find_blocks(model: nn.Module, path: str | None = None) -> Blocks:
    """The blocks of a model; ``path`` names their list where the model does not decide it.

    Several lists have commas between them, in order of execution. Raises ``ValueError`` when there
    is no such list, or more than one that nobody chose from (encoder and decoder, vision and text):
    the blocks of a list that is not chosen stay on the device.
    """
    if path is not None:
        return Blocks.at(model, *(one.strip() for one in path.split(",")))
    classes = _unsplit_classes(model)
    if not classes:
        raise ValueError(
            f"{type(model).__name__}: a model must name its block classes in _no_split_modules, "
            f"and this one names none; {_CHOOSE}"
        )
    found = block_lists(model)
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__}: exactly one nn.ModuleList must hold blocks of class "
            f"{' or '.join(sorted(classes))}; got {', '.join(found) or 'none'}; {_CHOOSE}"
        )
    return Blocks.at(model, found[0])


def block_lists(model: nn.Module) -> tuple[str, ...]:
    """Names of the lists that hold blocks: several where a model has several stacks.

    Where no module names its block classes, or no list holds the named ones (parts of blocks, as of
    Longformer), every outermost list of equal modules.
    """
    named = (*_outermost(_lists_of(model, _unsplit_classes(model))),)
    return named or (*_outermost(_lists_alike(model)),)


def _agree(names: tuple[str, ...]) -> bool:
    return len(set(names)) == 1


def _lists_alike(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or isinstance(module, ParametrizationList):
            continue
        if len({type(entry) for entry in module}) == 1:
            yield name


def _list_at(model: nn.Module, path: str) -> tuple[str, nn.ModuleList]:
    """With the name that it has inside whatever is wrapped around the model that names it."""
    named = dict(model.named_modules())
    inside = [name for name in named if name == path or name.endswith(f".{path}")]
    module = named[inside[0]] if len(inside) == 1 else named.get(path)
    if not isinstance(module, nn.ModuleList):
        got = "nothing" if module is None else type(module).__name__
        raise ValueError(f"blocks must name an nn.ModuleList of the model; got {path!r}, {got}")
    return (inside[0] if len(inside) == 1 else path), module


def _unsplit_classes(model: nn.Module) -> frozenset[str]:
    """Of every module, because a wrapper does not repeat what the model inside says."""
    stated = (getattr(module, "_no_split_modules", None) for module in model.modules())
    return frozenset(name for names in stated for name in names or ())


def _lists_of(model: nn.Module, classes: frozenset[str]) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) > 0:  # noqa: SIM102 (two questions)
            if all(_holds(entry, classes) for entry in module):
                yield name


def _holds(entry: nn.Module, classes: frozenset[str]) -> bool:
    """The entry is a block, or a wrapper whose only content is one."""
    while type(entry).__name__ not in classes:
        children = tuple(entry.children())
        if len(children) != 1:
            return False
        entry = children[0]
    return True


def _outermost(names: Iterator[str]) -> Iterator[str]:
    last: str | None = None
    for name in names:  # parents come before their children
        if last is None or not name.startswith(last + "."):
            last = name
            yield name
