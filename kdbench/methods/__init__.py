"""The distillation methods: one paper, one file. `METHODS` is the table of contents."""

from kdbench.methods.baseline.scratch import Scratch
from kdbench.methods.create import check, create
from kdbench.methods.data_free.zskt import ZSKT
from kdbench.methods.feature.attention import Attention
from kdbench.methods.feature.fitnets import FitNets
from kdbench.methods.online.dml import DML
from kdbench.methods.registry import family, find, short_paper, source_hash
from kdbench.methods.relation.relational_kd import RelationalAngle, RelationalDistance, RelationalDistanceAngle
from kdbench.methods.relation.triplet import Triplet
from kdbench.methods.response.earth_mover import EarthMover
from kdbench.methods.response.logit_mse import LogitMSE
from kdbench.methods.response.nuclear_norm import NuclearNorm
from kdbench.methods.response.relative_kd import RelativeV1, RelativeV2, RelativeV3, RelativeV4
from kdbench.methods.response.spherical import Spherical
from kdbench.methods.response.two_temperature import TwoTemperature
from kdbench.methods.response.vanilla import Vanilla
from kdbench.methods.self_distillation.born_again import BornAgain
from kdbench.methods.self_distillation.snapshot import Snapshot
from kdbench.training.method import Method

__all__ = ["METHODS", "check", "create", "family", "find", "short_paper", "source_hash"]

METHODS: dict[str, type[Method]] = {
    "scratch": Scratch,
    "vanilla": Vanilla,
    "logit_mse": LogitMSE,
    "two_temperature": TwoTemperature,
    "spherical": Spherical,
    "earth_mover": EarthMover,
    "nuclear_norm": NuclearNorm,
    "rkd_v1": RelativeV1,
    "rkd_v2": RelativeV2,
    "rkd_v3": RelativeV3,
    "rkd_v4": RelativeV4,
    "fitnets": FitNets,
    "attention": Attention,
    "rkd_d": RelationalDistance,
    "rkd_a": RelationalAngle,
    "rkd_da": RelationalDistanceAngle,
    "triplet": Triplet,
    "dml": DML,
    "snapshot": Snapshot,
    "born_again": BornAgain,
    "zskt": ZSKT,
}
