"""The flags that every command which asks about a case shares."""

from dataclasses import dataclass

from experiments.sizes import parse_bytes
from experiments.spec import Spec
from zo2sim.plan import Plan, Recipe


@dataclass(frozen=True, kw_only=True)
class Target:
    """Model, machine, plan and recipe."""

    plan: Plan
    recipe: Recipe
    model: str = "opt-13b"
    """Preset, or a folder or config.json in Hugging Face's format."""
    machine: str = "a100-pcie-80gb"
    """Machine of the catalogue, or a TOML file."""
    device_memory: str | None = None
    """Device memory to plan for, e.g. 18GB or 24GiB; otherwise the machine's."""
    host_memory: str | None = None
    """Host memory to plan for; otherwise the machine's."""

    @property
    def spec(self) -> Spec:
        """The case by name. Raises ``ValueError`` where a size cannot be read."""
        sizes = (
            ("device.memory_bytes", "--device-memory", self.device_memory),
            ("host.memory_bytes", "--host-memory", self.host_memory),
        )
        changes = tuple(
            (key, parse_bytes(text, flag=flag)) for key, flag, text in sizes if text is not None
        )
        return Spec(
            model=self.model,
            machine=self.machine,
            plan=self.plan,
            recipe=self.recipe,
            changes=changes,
        )
