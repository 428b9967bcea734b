"""Short names of papers."""

import pytest

from kdbench.citation import short_citation


@pytest.mark.parametrize(
    ("paper", "short"),
    [
        ("Hinton, Vinyals, Dean, 2015, arXiv:1503.02531", "Hinton et al. 2015"),
        ("Ba, Caruana, NeurIPS 2014, arXiv:1312.6184", "Ba & Caruana 2014"),
        ("Rumelhart, Hinton and Williams, Nature 1986", "Rumelhart et al. 1986"),
        ("Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146", "Zagoruyko & Komodakis 2016"),
        ("Romero et al., ICLR 2015, arXiv:1412.6550", "Romero et al. 2015"),
        ("Wightman, PyTorch Image Models, 2019, doi:10.5281/zenodo.4414861", "Wightman 2019"),
        ("LeCun, Bottou, Haffner, Proceedings of the IEEE 86(11), 1998", "LeCun et al. 1998"),
        ("MedMNIST v2: Yang et al., Scientific Data 2023, arXiv:2110.14795", "Yang et al. 2023"),
        ("Tai-Yu, O'Neill, ICML 2016; later: Someone, 2018", "Tai-Yu & O'Neill 2016"),
        ("The maintainers and contributors, 2016, github.com", "The maintainers and contributors 2016"),
        ("Someone, arXiv:2010.07485", "Someone"),
        ("a private report, unpublished", "a private report"),
        ("your own", "your own"),
    ],
)
def test_authors_and_year_are_found(paper: str, short: str) -> None:
    assert short_citation(paper) == short
