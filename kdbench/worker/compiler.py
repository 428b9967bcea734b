"""Check the requirements of torch.compile without importing torch."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_compiler() -> str | None:
    """Return what torch.compile is missing, a C++ compiler or Python's headers, or None if both are found."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"compiler '{compiler}'"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return None if headers.is_file() else str(headers)
