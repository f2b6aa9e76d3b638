"""What a worker process runs that is killed, for its memory perhaps, the first time."""

import os
from pathlib import Path

from experiments.jobs.pool import Answered, Batch, answer_all

FLAG = "DIES_ONCE"
"""The environment variable that names the file which says that it has happened."""


def die_once(batch: Batch) -> Answered:
    try:
        Path(os.environ[FLAG]).touch(exist_ok=False)
    except FileExistsError:
        return answer_all(batch)
    os._exit(1)
