"""Models of the hub: a look at what one is, then its weights, in full precision or, where only those stand, in half."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import RudderError, shorten
from .layout import FAMILIES, PICKLES, half_of, instead

PATIENCE = 10  # seconds for the hub's first answer
LOOK = ("model_index.json", "rudder.json", "*/config.json", "scheduler/*.json", "tokenizer/*")


def fetch(repo: str, revision: str | None = None, check: Callable[[Path], object] = lambda folder: None) -> Path:
    """The folder of a hub id, whatever of it was not here before fetched. Of each network one file is fetched.

    `check` is shown the folder before weights are fetched, and raises RudderError for a model that cannot be used.
    Without a connection the copy in this machine's cache is taken. RudderError where there is none, for an id that does
    not exist or may not be read.
    """
    from huggingface_hub import HfApi

    try:
        listed = HfApi().model_info(repo, revision=revision, timeout=PATIENCE).siblings or []
    except Exception as error:  # network, HTTP, authentication, offline mode: a copy fetched before may still be here
        try:
            return _snapshot(repo, revision, None, local=True)
        except Exception:
            raise _unreachable(repo, error) from error
    try:
        check(_snapshot(repo, revision, LOOK))
        there = [file.rfilename for file in listed]
        found = weights(there)
        if not found and any(name.endswith(PICKLES) for name in there):
            raise RudderError(f"{repo} has no weights that can be read{instead(there)}.")
        return _snapshot(repo, revision, [*LOOK, *found])
    except RudderError:
        raise
    except Exception as error:  # as above, and a full disk
        raise _unreachable(repo, error) from error


def weights(there: Iterable[str]) -> list[str]:
    """Of the files in a repository the weights to fetch: one of each network, the full ones where both stand."""
    there, found = set(there), []
    for family in FAMILIES.values():
        for part, name in family.parts.items():
            full, half = f"{part}/{name}", f"{part}/{half_of(name)}"
            found += [full] if full in there else [half] if half in there else []
    return list(dict.fromkeys(found))


def _snapshot(repo: str, revision: str | None, patterns: Iterable[str] | None, local: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    wanted = None if patterns is None else list(patterns)
    return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=local))


def _unreachable(repo: str, error: Exception) -> RudderError:
    return RudderError(
        f"{repo} could not be fetched from the hub ({type(error).__name__}: {shorten(error)}) and is not in this "
        "machine's cache: check the id and the connection, or give a local folder."
    )
