import pytest

from kdbench.results.hardware import cpu_model, parse_cpuinfo

X86 = "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 26\nmodel : 2\nmodel name : AMD EPYC\n\nprocessor : 1\n"
ARM = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n"
MODELS = {
    "x86": (X86, "AMD EPYC (family 26, model 2)"),
    "arm": (ARM, "ARM (implementer 0x41, part 0xd0c)"),
    "": ("", ""),
}


@pytest.mark.parametrize(("text", "expected"), MODELS.values(), ids=MODELS)
def test_the_first_cpu_is_named(text: str, expected: str) -> None:
    assert parse_cpuinfo(text) == expected


def test_two_generations_under_one_name_are_different() -> None:
    assert parse_cpuinfo(X86) != parse_cpuinfo(X86.replace("family : 26", "family : 25"))


def test_this_machine_has_a_model() -> None:
    assert cpu_model()
    assert cpu_model().isprintable()
