"""Markdown for scripts/docs: tables, docstrings, escapes."""

import re
from collections.abc import Iterable


def fill(page: str, name: str, block: str) -> str:
    """Return the page with the text between the two lines that mark a block replaced."""
    marks = re.compile(
        rf"(^[^\n]*\bbegin {name}: written by scripts[^\n]*\n).*?(^[^\n]*\bend {name}\b)", re.DOTALL | re.MULTILINE
    )
    if not marks.search(page):
        raise SystemExit(f"no lines 'begin {name}: written by scripts' and 'end {name}'; add them as comments")
    return marks.sub(lambda found: f"{found[1]}\n{block.strip(chr(10))}\n\n{found[2]}", page)


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ("---",) * len(titles), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(docstring: str) -> str:
    """Return a docstring as Markdown, without "Raises:"; a formula at its beginning is shown in a block."""
    paragraphs = [p for p in re.split(r"\n\s*\n", docstring) if not p.startswith("Raises:")]
    return "\n\n".join(map(formula_first, paragraphs))


def formula_first(paragraph: str) -> str:
    """Return a paragraph that is one formula in backticks, and what it is of, as a block; others as text."""
    found = re.fullmatch(r"`([^`]* = [^`]*)`[,.]? *([^`]*?)\.?", paragraph)
    return f"```text\n{found[1]}\n{found[2]}".strip() + "\n```" if found else escaped(paragraph)


def escaped(text: str) -> str:
    """Return the text with what Markdown would read as markup escaped, outside of backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else without_markup(p) for p in parts)


def without_markup(text: str) -> str:
    """Return the text with asterisks, brackets and underscores at the edge of a word escaped."""
    text = text.replace("<", "&lt;").replace("[", r"\[").replace("]", r"\]").replace("*", r"\*")
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", text)


def sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop."""
    return escaped(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))


def one_line(text: str) -> str:
    """Return a docstring in one line."""
    return " ".join(text.split())


def shown(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(value)
