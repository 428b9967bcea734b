"""Planning: a matrix is expanded to runs on this machine, and every cell is checked before anything trains."""

from kdbench.plan.batches import batches_key
from kdbench.plan.compatible import Incompatible
from kdbench.plan.planner import Plan, make_plan
from kdbench.plan.registry import LocalRegistry

__all__ = ["Incompatible", "LocalRegistry", "Plan", "batches_key", "make_plan"]
