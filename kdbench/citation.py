"""Papers as a text cites them."""

import re

YEAR = re.compile(r"\b(19|20)\d\d\b(?!\.\d)")  # not that of an arXiv id
SURNAME = re.compile(r"[^\W\d_][\w'\u2019-]+")


def short_citation(paper: str) -> str:
    """Return the authors and the year of a full citation; without a year, its first phrase.

    >>> short_citation("Hinton, Vinyals, Dean, 2015, arXiv:1503.02531")
    'Hinton et al. 2015'
    >>> short_citation("Ba, Caruana, NeurIPS 2014, arXiv:1312.6184")
    'Ba & Caruana 2014'
    """
    first = paper.partition(";")[0]
    year = YEAR.search(first)
    if year is None:
        return first.partition(",")[0].strip()
    *names, _ = re.split(",| and ", first[: year.start()])  # the last part is the venue, or empty
    names = [name.strip().rpartition(": ")[2] for name in names]
    authors = names[: next((i for i, name in enumerate(names) if not SURNAME.fullmatch(name)), len(names))]
    if not authors:
        return f"{first[: year.start()].partition(',')[0].rpartition(': ')[2].strip()} {year[0]}"
    return f"{_join(authors)} {year[0]}"


def _join(authors: list[str]) -> str:
    return " & ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
