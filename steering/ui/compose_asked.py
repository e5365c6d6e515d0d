"""What the workbench asks for: its state, one JSON object, checked and as a recipe; and a recipe as such a state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..concepts import ConceptVector
from ..errors import RudderError, shorten, unknown
from ..inversion import WAYS, as_seen, digest_of
from ..masks import mask_image, mask_text
from ..recipe import Recipe, Use
from .asked import mapping
from .restore import bounded
from .session import Session
from .studio import Studio

OWN_LIMIT = 4  # pictures of one's own that a session keeps
MOST_TERMS = 8  # rows that the page offers; a recipe may have twice as many
AGAIN = (
    "This picture begins with a picture of somebody's own, which it does not hold: bring that very picture again under "
    "“Your picture”, then paint."
)


@dataclass(frozen=True, eq=False)
class Job:
    """One picture to paint. `own`: the visitor's picture as the model sees it, None where the seed begins; `words`: a
    prompt that asks for the same change, "" where none is asked."""

    recipe: Recipe
    own: Image.Image | None
    way: str
    words: str


def job_of(studio: Studio, session: Session, state: Any) -> Job:
    """The page's {"recipe", "own", "way", "words"} as a Job; the recipe's concepts are names that this visitor knows.

    RudderError names the first value that will not do, another model, or a picture that is not there any more.
    """
    state = mapping(state)
    recipe = Recipe.from_json(mapping(state.get("recipe")))
    if recipe.model != studio.backbone.name:
        raise RudderError(
            f"This recipe is for the model {shorten(recipe.model)!r}, and this page runs {studio.backbone.name!r}: go "
            "to that model's page."
        )
    bounded(studio, recipe)
    way, own, words = state.get("way") or WAYS[1], state.get("own") or "", state.get("words") or ""
    if way not in WAYS:
        raise unknown("way of inverting", way, WAYS)
    if not isinstance(words, str) or (words and studio.backbone.classes is not None):
        raise RudderError(f"{studio.backbone.name} reads no prompts: there are no words to compare with.")
    if own and own not in session.pictures:
        raise RudderError("Your picture is not here any more: bring it again under “Your picture”.")
    if recipe.picture and not own:
        raise RudderError(AGAIN)
    seen = session.pictures[own] if own else None
    mark = f"{way} {digest_of(seen, way)}" if seen else ""
    mask = mask_text(mask_image(recipe.mask)) if recipe.mask else ""
    return Job(replace(recipe, picture=mark, mask=mask, strip=None), seen, way, words.strip())


def settled(recipe: Recipe, vectors: Mapping[str, ConceptVector]) -> Recipe:
    """The recipe with every concept's window and sites written out; a single added one's are the recipe's own, as the
    Steer tab and the command line write it."""
    uses = recipe.uses or (Use(),) * len(recipe.concepts)
    full = []
    for (name, _), use in zip(recipe.concepts, uses, strict=True):
        sites = use.sites or recipe.sites or tuple(vectors[name].advice["sites"] or vectors[name].sites)
        full.append(replace(use, window=use.window or recipe.window, sites=sites))
    if len(full) == 1 and full[0].operator == "add":
        return replace(recipe, uses=(), sites=full[0].sites, window=full[0].window or recipe.window)
    return replace(recipe, uses=tuple(full), sites=None)


def state_of(studio: Studio, recipe: Recipe, names: Mapping[str, str], vectors: Mapping[str, ConceptVector]) -> Any:
    """A recipe as the page's state; `names`: what its concepts are called here, `vectors` by those names where known.

    Sites that the recipe leaves open are all of the vector's, and are written out: the page's own default is advice.
    """
    uses = recipe.uses or (Use(),) * len(recipe.concepts)
    full = []
    for (name, _), use in zip(recipe.concepts, uses, strict=True):
        vector = vectors.get(names.get(name, name))
        every = tuple(vector.sites) if vector is not None else None
        full.append(replace(use, window=use.window or recipe.window, sites=use.sites or recipe.sites or every))
    concepts = tuple((names.get(name, name), value) for name, value in recipe.concepts)
    told = json.loads(replace(recipe, concepts=concepts, strip=None, uses=(), sites=None).to_json())
    told["uses"] = [json.loads(json.dumps(one, default=vars)) for one in full]
    way = recipe.picture.split(" ")[0] if recipe.picture else WAYS[1]
    return {"recipe": told, "own": "", "way": way, "words": ""}


def keep_picture(studio: Studio, session: Session, picture: Image.Image) -> dict[str, Any]:
    """Take in a visitor's picture: {"own": its name in this session, "marks": what recipes that begin with it say}."""
    seen = as_seen(picture, studio.backbone.resolution)
    name = hashlib.sha256(seen.tobytes()).hexdigest()[:16]
    session.pictures[name] = seen
    session.pictures.move_to_end(name)
    while len(session.pictures) > OWN_LIMIT:
        session.pictures.popitem(last=False)
    return {"own": name, "marks": [f"{way} {digest_of(seen, way)}" for way in WAYS]}
