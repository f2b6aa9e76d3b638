"""Folders that are read by shard, which takes a transformers whose tables were compared."""

import pytest
import transformers

from zo2rt.checkpoint.checkpoint import SINCE

BY_SHARD = pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < SINCE,
    reason=f"takes transformers {'.'.join(map(str, SINCE))}; older ones load a folder whole",
)
"""What older versions of transformers have no part in."""
