"""What torch.compile needs of a machine; looked for without torch."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_compiler() -> str | None:
    """What is not there of a C++ compiler, where torch looks for it, and Python's headers; None: nothing."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"compiler '{compiler}'"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return None if headers.is_file() else str(headers)
