"""The requirements of torch.compile."""

import pytest

from kdbench.worker.compiler import missing_compiler


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """The only compiler on the path."""
    path = tmp_path / "g++"
    path.touch(mode=0o755)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "Python.h").touch()
    return path


def test_nothing_is_missing(compiler):
    assert missing_compiler() is None


def test_the_compiler_on_macos_is_clang(compiler, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert missing_compiler() == "compiler 'clang++'"


@pytest.mark.parametrize("name", ["", "no-such-compiler"])
def test_a_compiler_named_by_cxx_must_exist(compiler, monkeypatch, name):
    monkeypatch.setenv("CXX", name)
    assert missing_compiler() == f"compiler '{name}'"
    monkeypatch.setenv("CXX", str(compiler))
    assert missing_compiler() is None


def test_the_headers_must_exist(compiler):
    (compiler.parent / "Python.h").unlink()
    assert missing_compiler() == str(compiler.parent / "Python.h")
