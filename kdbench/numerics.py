"""The version of everything that decides the numbers of a run.

Raise `NUMERICS` by one in the same commit as any change after which a run of the same spec gives other numbers, on the
same machine and apart from rounding: in the loop, optimizers, schedules and precision (`training/`), in splits,
normalization and augmentation (`data/`), in initial weights, layers and outputs of a network (`models/`), in metrics
(`analysis/`), or in how the worker puts these together. A change of one method raises that method's `version` instead.

The number is part of the id of every run, so that runs of two versions never share a table row, and a student never
learns from a teacher of another version. `tests/golden` fails when numbers move; then fix the change, or raise this
number and write the stored values again.
"""

NUMERICS = 1
