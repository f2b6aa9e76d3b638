"""How long matrix kernels take: measured tables, smoothed and extended by a roofline with waves."""

from zo2sim.cost.kernels.model import KernelModel
from zo2sim.cost.kernels.tables import for_dtype, for_machine, scaled_model, table_model

__all__ = ["KernelModel", "for_dtype", "for_machine", "scaled_model", "table_model"]
