"""The distillation methods: one paper, one file; `METHODS` is the table of contents."""

from kdbench.methods.response.vanilla import Vanilla
from kdbench.training.method import Method

METHODS: dict[str, type[Method]] = {
    "vanilla": Vanilla,
}
