"""Methods are found by name, and described by family and paper."""

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from kdbench.errors import MethodError
from kdbench.methods import METHODS, family, find, short_paper, source_hash
from kdbench.methods.response.vanilla import Vanilla

SOURCE = """
from typing import final
from kdbench.methods.offline import Offline

@final
class Mine(Offline):
    paper = "mine"

    def losses(self, student, teacher, batch):
        return {"ce": student.logits.sum()}

class Open(Offline):
    paper = "open"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The file of a custom method, importable as `custom_method`."""
    file = tmp_path / "custom_method.py"
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return file


def test_methods_lists_the_first_sixteen():
    first = {"scratch", "vanilla", "logit_mse", "fitnets", "attention", "dml", "snapshot", "born_again", "zskt"}
    assert first | {f"rkd_v{i}" for i in range(1, 5)} | {"rkd_d", "rkd_a", "rkd_da"} <= METHODS.keys()


def test_find_returns_the_class_of_a_key():
    assert find("vanilla") is Vanilla


def test_find_suggests_the_nearest_name():
    with pytest.raises(MethodError, match="unknown method 'vanila'; did you mean 'vanilla'"):
        find("vanila")


def test_find_imports_a_custom_class(mine):
    assert find("custom_method:Mine").paper == "mine"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("custom_method:Mina", "'custom_method' has no 'Mina'; did you mean 'Mine'?"),
        ("no_such_module:Mine", "module 'no_such_module' not found; modules are searched in the current folder"),
        (":Mine", "must be written 'package.module:name', got ':Mine'"),
    ],
)
def test_find_rejects_what_cannot_be_imported(mine, name, reason):
    with pytest.raises(MethodError, match=re.escape(f"method '{name}': {reason}")):
        find(name)


def test_an_unknown_label_needs_the_key_method():
    with pytest.raises(MethodError, match=r"unknown method 'xyz'; valid: .*; a label .* needs the key 'method'"):
        find("xyz")


@pytest.mark.parametrize("name", ["custom_method:Open", "collections:Counter", "math:pi"])
def test_find_rejects_what_is_not_a_final_method(mine, name):
    with pytest.raises(MethodError, match=f"'{name}' must be a @final class derived from kdbench.Method"):
        find(name)


def test_find_loads_an_entry_point(mine, monkeypatch):
    plugins = EntryPoints([EntryPoint("mine", "custom_method:Mine", "kdbench.methods")])
    monkeypatch.setattr(
        sys.modules["kdbench.methods.registry"], "entry_points", lambda group: plugins.select(group=group)
    )
    assert find("mine").paper == "mine"
    assert source_hash("mine") == source_hash("custom_method:Mine")
    with pytest.raises(MethodError, match="did you mean 'mine'"):
        find("minee")


def test_source_hash_follows_the_file_of_a_custom_method(mine):
    first = source_hash("custom_method:Mine")
    mine.write_text(SOURCE + "# changed\n")
    assert len(first) == 16
    assert source_hash("custom_method:Mine") != first
    assert source_hash("vanilla") is None
    assert source_hash("kdbench.methods.response.vanilla:Vanilla") is None


def test_source_hash_needs_a_file(mine, monkeypatch):
    find("custom_method:Mine")
    mine.unlink()
    with pytest.raises(MethodError, match=r"source of method 'custom_method:Mine' cannot be read.*; define the"):
        source_hash("custom_method:Mine")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("vanilla", "response"), ("snapshot", "self_distillation"), ("custom_method:Mine", "custom")],
)
def test_family_is_the_folder_of_the_file(mine, name, expected):
    assert family(name) == expected


def test_short_paper_is_the_citation_of_the_paper(mine):
    assert short_paper("vanilla") == "Hinton et al. 2015"
    assert short_paper("custom_method:Mine") == "mine"


def test_short_paper_of_every_method_fits_a_column():
    assert {name for name in METHODS if len(short_paper(name)) > 30} == {"nuclear_norm"}
