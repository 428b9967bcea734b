"""What torch.compile would miss."""

import pytest

from kdbench.run.compiler import lacking


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The only program that can be found."""
    path = tmp_path / "g++"
    path.touch(mode=0o755)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "Python.h").touch()
    return path


def test_nothing_is_missed_where_all_is_there(program):
    assert lacking() is None


def test_on_a_mac_another_compiler_is_looked_for(program, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert lacking() == "compiler 'clang++'"


@pytest.mark.parametrize("name", ["", "no-such-compiler"])
def test_the_compiler_that_is_named_must_be_there(program, monkeypatch, name):
    monkeypatch.setenv("CXX", name)
    assert lacking() == f"compiler '{name}'"
    monkeypatch.setenv("CXX", str(program))
    assert lacking() is None


def test_the_headers_must_be_there(program):
    (program.parent / "Python.h").unlink()
    assert lacking() == str(program.parent / "Python.h")
