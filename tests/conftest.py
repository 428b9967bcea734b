"""What all tests share."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from hypothesis import settings  # noqa: E402

settings.register_profile("kdbench", deadline=None, max_examples=50)
settings.load_profile("kdbench")
