"""How a worker runs a job: keys of `[run]` that are not part of a run's identity."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Options:
    """Options of a job.

    `checkpoint_minutes` is the time between checkpoints (0: after every epoch), `teacher_cache_gb` the disk budget for
    cached teacher outputs (0: no cache). With `compile` networks train through torch.compile; with `cuda_graphs` the
    steps on a GPU are captured.
    """

    checkpoint_minutes: float = 5.0
    teacher_cache_gb: float = 0.0
    compile: bool = False
    cuda_graphs: bool = False
