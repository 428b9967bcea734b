"""Markdown for scripts/docs: tables, docstrings, escapes."""

import re
from collections.abc import Iterable


def fill(page: str, name: str, block: str) -> str:
    """The page with the text between the two lines that mark a block replaced."""
    marks = re.compile(
        rf"(^[^\n]*\bbegin {name}: written by scripts[^\n]*\n).*?(^[^\n]*\bend {name}\b)", re.DOTALL | re.MULTILINE
    )
    if not marks.search(page):
        raise SystemExit(f"no lines 'begin {name}: written by scripts' and 'end {name}'; add them as comments")
    return marks.sub(lambda found: f"{found[1]}\n{block.strip(chr(10))}\n\n{found[2]}", page)


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [titles, ("---",) * len(titles), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(docstring: str) -> str:
    """A docstring as Markdown: paragraphs with an equation are shown as they are written, others as text."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    return "\n\n".join(f"```text\n{p}\n```" if is_formula(p) else with_list(p) for p in paragraphs)


def is_formula(paragraph: str) -> bool:
    """Whether a paragraph begins with an equation."""
    return re.match(r"\s*[A-Za-z]\w*(\([^)]*\))? (=|<-) ", paragraph) is not None


def with_list(paragraph: str) -> str:
    """A paragraph of text; a section such as "Raises:" becomes a list."""
    head, _, rest = paragraph.partition("\n")
    if not re.fullmatch(r"(Raises|Args|Returns):", head):
        return escaped(paragraph)
    items = re.sub(r"\n {8,}", " ", rest).splitlines()
    return f"{head}\n\n" + "\n".join(f"- {escaped(item.strip())}" for item in items)


def escaped(text: str) -> str:
    """The text with what Markdown would read as markup escaped, outside of backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<>\[\]])", r"\\\1", p) for p in parts)


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return escaped(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))


def one_line(text: str) -> str:
    """A docstring in one line."""
    return " ".join(text.split())


def shown(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(value)
