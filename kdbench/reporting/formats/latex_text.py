"""Plain text as LaTeX."""

import re
import unicodedata

from kdbench.reporting.table import one_line

COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "'": r"\textquoteright{}",
    "`": r"\textquoteleft{}",
    "[": "{[}",  # after the end of a row, [ and * are options of it
    "*": "{*}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
}


def escape(text: str) -> str:
    """Return text on one line, with commands for LaTeX's special characters and the signs of kdbench's tables.

    Other characters stay as they are. pdfLaTeX typesets the Latin ones; Greek, CJK and others need LuaLaTeX or XeLaTeX
    with a font that has them.
    """
    joined = "".join(COMMANDS.get(c, c) for c in unicodedata.normalize("NFC", one_line(text)))
    return re.sub("-(?=-)", "-{}", joined)  # two hyphens would become a dash


def slug(text: str) -> str:
    """Return letters, digits and hyphens, for file names and labels."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-").lower() or "table"


def allow_breaks(text: str, longest: int) -> str:
    """Return escaped text whose longer words may break after "/", "_", "=" and ".", but not around " = "."""
    words = (_breakable(word) if len(word) > longest else word for word in text.split(" "))
    return " ".join(words).replace(" = ", "~=~")


def _breakable(word: str) -> str:
    return re.sub(r"(/|\\_|=|\.)(?=\w)", r"\1\\allowbreak{}", word)
