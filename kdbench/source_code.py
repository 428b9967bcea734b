"""The identity of a user's own code: all modules of its package or folder that it imports, directly or not."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import final

from kdbench.errors import KdbenchError

INSTALLED = ("site-packages", "dist-packages")


def source_hash(*modules: str) -> str:
    """Return 16 hexadecimal digits of a SHA-256 of imported modules and of all own modules that they import.

    Own modules are those in the folder of the module, or of its top-level package, and below; of an installed package
    those of the package alone. kdbench, the standard library and other installed packages are never among them. They
    are found by their import statements, wherever these stand; what `importlib` or `exec` loads is not seen. The hash
    depends on the names of modules and the content of their files, not on where the files are.

    Args:
        modules: the names of modules that have been imported.

    Raises:
        KdbenchError: a module has no source file.
    """
    sources: dict[str, str] = {}
    for module in modules:
        for name, content in _SourceTree(module).walk():
            sources[name] = hashlib.sha256(content).hexdigest()
    text = "\n".join(f"{name} {sources[name]}" for name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@final
class _SourceTree:
    """The folders that hold the package of a module, or the module itself; several for a namespace package."""

    def __init__(self, module: str) -> None:
        self._start = module
        self._top = module.partition(".")[0]
        portions = getattr(sys.modules[self._top], "__path__", None)
        places = list(portions) if portions is not None else [getattr(sys.modules[module], "__file__", None) or ""]
        self._folders = [Path(place).parent for place in places]

    def walk(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and the contents of the module and of all own modules that it imports.

        Raises:
            KdbenchError: the module has no source file.
        """
        if self._find(self._start) is None:
            raise KdbenchError(f"module '{self._start}' has no Python file, and its source is part of a run's identity")
        pending, seen = {self._start}, set[str]()
        while pending:
            name = pending.pop()
            seen.add(name)
            pending |= set(_parents(name)) - seen
            path = self._find(name)
            if path is not None:
                content = path.read_bytes()
                yield name, content
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                pending |= {found for one in _imports(content, package) for found in self._expand(one)} - seen

    def _find(self, name: str) -> Path | None:
        """Return the file of an own module; None if there is none, as for a namespace package."""
        top = name.partition(".")[0]
        if top == "kdbench" and name != self._start:
            return None
        for folder in self._folders:
            if top != self._top and _is_installed(folder):
                continue
            path = folder.joinpath(*name.split("."))
            for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
                if file.is_file():
                    return file
        return None

    def _expand(self, name: str) -> Iterator[str]:
        """Yield a name; for "package.*" the package and its modules."""
        package, _, last = name.rpartition(".")
        if last != "*":
            yield name
            return
        yield package
        for folder in self._folders:
            yield from (f"{package}.{file.stem}" for file in folder.joinpath(*package.split(".")).glob("*.py"))


@lru_cache(1024)
def _imports(content: bytes, package: str) -> frozenset[str]:
    """Return what a module of a package may import, by absolute name; `from x import y` may import `x` or `x.y`."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return frozenset()  # it cannot be imported either
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [_ancestor(package, node.level), node.module]))
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base else set()
    return frozenset(found)


def _ancestor(package: str, level: int) -> str:
    """Return the package that the dots of a relative import refer to; "" for an absolute import."""
    parts = package.split(".") if level else []
    return ".".join(parts[: len(parts) - level + 1])


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _is_installed(folder: Path) -> bool:
    return bool({*INSTALLED} & {*folder.parts}) or folder.is_relative_to(sysconfig.get_path("stdlib"))
