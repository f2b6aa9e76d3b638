"""Weights in a folder of shards, read a tensor at a time. Imports `backends`, `model`.

`file` is one safetensors file, `folder` all of them by the names in them, `formats` what else a
tensor may be made of, and `quantised` the layers of GPTQ, AWQ and compressed-tensors. `keys` asks
transformers which tensors make up which parameter, `hollow` is a model without its weights, and
`checkpoint` is both together: the class as ``from_pretrained`` would load it, and every weight,
bit for bit, when it is asked for.

The way back: `later` is a tensor that is made when it is written, `shard` one file of them, and
`saving` the folder that ``save_pretrained`` would write, byte for byte.
"""

from zo2rt.checkpoint.checkpoint import Checkpoint
from zo2rt.checkpoint.formats import NotByShard
from zo2rt.checkpoint.stored import Stored

__all__ = ["Checkpoint", "NotByShard", "Stored"]
