"""Types of hyperparameters that many methods share: bounds, and the range that `kdbench tune` searches.

A method narrows or widens the range by its own `Tune`, as in `Annotated[Weight, Tune(1, 200, log=True)]`.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le

from kdbench.hyperparameters import Tune

Alpha = Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)]  # weight of the soft term; cross-entropy has 1 - alpha
Temperature = Annotated[float, Gt(0), Tune(1, 20, log=True)]
Weight = Annotated[float, Ge(0), Tune(0.1, 10, log=True)]  # weight of a term beside a cross-entropy of weight 1
