"""The two exceptions and the warning a user can meet, and the wording they share."""

from __future__ import annotations

import difflib
import unicodedata
import warnings
from collections.abc import Iterable


class RudderError(ValueError):
    """Something the user can put right: one sentence with the cause and the remedy."""


class Cancelled(RudderError):
    """Raised by a running generator once its stop event is set."""


class Remark(UserWarning):
    """Something the user should know, and that stops nothing: one sentence."""


def remark(sentence: str) -> None:
    """Tell it as a warning, which the command line shows as a plain sentence."""
    warnings.warn(sentence, Remark, stacklevel=3)


def unknown(kind: str, name: object, known: Iterable[str], remedy: str = "choose one of") -> RudderError:
    """The error for a name that does not exist: says the closest match and what does exist."""
    options = sorted(known)
    close = difflib.get_close_matches(str(name)[:200], options, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(options[:12]) + (f" and {len(options) - 12} more" if len(options) > 12 else "")
    return RudderError(f"There is no {kind} named {shorten(name)!r}: {hint}{remedy} {listed or 'none so far'}.")


def shorten(value: object, limit: int = 80) -> str:
    """`str(value)` on one line, cut to `limit` characters, so that hostile input cannot flood a message."""
    text = printable(" ".join(str(value)[: 8 * limit].split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """Text that every file and terminal takes: control characters and lone surrogates, of which the names of files that
    are no UTF-8 are full, become escapes such as \\udce9; names that differ stay different."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
