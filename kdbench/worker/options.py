"""How a worker does its jobs: what `[run]` says, and no part of a run's identity."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Options:
    """Of one job. `compile`: networks train through torch.compile. `cuda_graphs`: steps on a GPU are captured."""

    checkpoint_minutes: float = 5.0  # 0: after every epoch
    teacher_cache_gb: float = 0.0  # 0: nothing that teachers said is kept or repeated
    compile: bool = False
    cuda_graphs: bool = False
