"""What torch.compile would miss."""

import pytest

from kdbench.worker.compiler import missing_compiler


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
    assert missing_compiler() is None


def test_on_a_mac_another_compiler_is_looked_for(program, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert missing_compiler() == "compiler 'clang++'"


@pytest.mark.parametrize("name", ["", "no-such-compiler"])
def test_the_compiler_that_is_named_must_be_there(program, monkeypatch, name):
    monkeypatch.setenv("CXX", name)
    assert missing_compiler() == f"compiler '{name}'"
    monkeypatch.setenv("CXX", str(program))
    assert missing_compiler() is None


def test_the_headers_must_be_there(program):
    (program.parent / "Python.h").unlink()
    assert missing_compiler() == str(program.parent / "Python.h")
