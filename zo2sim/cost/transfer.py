"""Moving a block: over the link, to and from NVMe, and encoding it for a narrow wire."""

from dataclasses import replace

from zo2sim.cost import peer
from zo2sim.cost.setting import Setting
from zo2sim.simulate.work import Number, Rates, Resource, TwoWays, Work

PAGEABLE_DRAM_PASSES = 3
"""Read the source, write the bounce buffer, read it again."""


def rates(s: Setting) -> Rates:
    """Capacities under this plan; copies that pass a bounce buffer go at their own rate in every
    state. Raises ``ValueError`` where the machine does not say what staged copies reach."""
    link, host, nvme = s.machine.link, s.machine.host, s.machine.nvme
    h2d, d2h = link.h2d_bytes_per_s.value, link.d2h_bytes_per_s.value
    both = link.both_h2d_bytes_per_s.value, link.both_d2h_bytes_per_s.value
    if s.copies:
        h2d, d2h = _bounced(s, "h2d"), _bounced(s, "d2h")
        both = min(both[0], h2d), min(both[1], d2h)
    return Rates(
        link_h2d=h2d,
        link_d2h=d2h,
        both_h2d=both[0],
        both_d2h=both[1],
        dram=host.dram_bytes_per_s.value,
        cpu=host.num_cores.value,
        nvme_read=nvme.read_bytes_per_s.value if nvme else float("nan"),
        nvme_write=nvme.write_bytes_per_s.value if nvme else float("nan"),
        sharing=peer.sharing(s, TwoWays(h2d=h2d, d2h=d2h, both_h2d=both[0], both_d2h=both[1])),
    )


def _bounced(s: Setting, way: str) -> float:
    key = f"{s.copies}{way}_bytes_per_s"
    rate = getattr(s.machine.link, key)
    if rate is None:
        raise ValueError(
            f"{s.machine.name}: pinning={s.plan.pinning} needs link.{key} in the machine file; it "
            "has none; use pinning=pageable"
        )
    return rate.value


def copy(s: Setting, unit: int, resource: Resource, ends: tuple[int, int] = (0, 0)) -> Work:
    """One copy of the flat block, or of a device's slice of it; a copy per tensor in the published
    code. ``ends`` are the device whose socket has the block, and the one that copies: memory of
    another socket is slower."""
    copies = len(s.unit(unit).parameters) if s.published else 1
    nbytes = s.unit_bytes(unit, s.recipe.wire_dtype)
    work = over_link(s, nbytes, resource, copies=copies)
    if not peer.is_far(s, *ends):
        return work
    far_s = nbytes / (rates(s).of(resource) * s.node.far_ratio.value)
    return replace(work, amounts={**work.amounts, Resource.FAR: far_s})


def over_link(s: Setting, nbytes: Number, resource: Resource, *, copies: int = 1) -> Work:
    """Bytes between device and host; each copy has its latency and its ramp-up."""
    link = s.machine.link
    ramp_s = link.half_size_bytes.value / rates(s).of(resource)
    dram = nbytes * (PAGEABLE_DRAM_PASSES if s.copies else 1)
    return Work(
        fixed_s=copies * (link.latency_s.value + ramp_s),
        amounts={resource: nbytes, Resource.DRAM: dram},
    )


def disk(s: Setting, unit: int, resource: Resource) -> Work:
    """A block between NVMe and host staging. Raises ``ValueError`` on a machine without NVMe."""
    return through_nvme(s, s.unit_bytes(unit, s.recipe.storage_dtype), resource)


def through_nvme(s: Setting, nbytes: Number, resource: Resource) -> Work:
    """Bytes between NVMe and host. Raises ``ValueError`` on a machine without NVMe."""
    if s.machine.nvme is None:
        raise ValueError(
            f"{s.machine.name}: tier=nvme needs an [nvme] section in the machine file; "
            "it has none; use tier=ram"
        )
    return Work(
        fixed_s=s.machine.nvme.latency_s.value,
        amounts={resource: nbytes, Resource.DRAM: nbytes},
    )


def encode(s: Setting, unit: int) -> Work:
    """Master to wire format on the host; every core takes part."""
    read = s.unit_bytes(unit, s.recipe.storage_dtype)
    written = s.unit_bytes(unit, s.recipe.wire_dtype)
    core_s = read / s.machine.host.encode_bytes_per_s.value
    return Work(amounts={Resource.CPU: core_s, Resource.DRAM: read + written})
