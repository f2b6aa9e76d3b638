"""What `nvidia-smi topo -m` printed on real computers, as people posted it.

A row that a post cut off is completed by its symmetry; of the network cards of large computers only
those are kept that are within a switch of some device.
"""

from pathlib import Path

_SEEN = Path(__file__).with_name("topologies_seen")


def _seen(name: str) -> str:
    return (_SEEN / f"{name}.txt").read_text()


DESKTOP_PAIR = _seen("desktop_pair")  # noonghunna/club-3090 issue 1229
UNEVEN_SOCKETS = _seen("uneven_sockets")  # noonghunna/club-3090 issue 46
NO_NUMA = _seen("no_numa")  # noonghunna/club-3090 issue 178
BRIDGED_PAIRS = _seen("bridged_pairs")  # aikitoria/open-gpu-kernel-modules pull 18
FOUR_A100 = _seen("four_a100")  # NVIDIA/nccl-tests issue 331
DGX_A100 = _seen("dgx_a100")  # NVIDIA/DCGM issue 149
DGX2 = _seen("dgx2")  # NVIDIA/nccl-tests issue 78
OWN_PORTS = _seen("own_ports")  # NVIDIA/nccl issue 1453
OLD_DRIVER = _seen("old_driver")  # kubernetes/kubernetes issue 53497
