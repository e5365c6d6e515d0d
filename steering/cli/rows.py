"""From what `rudder grid` was given to its rows, each with the vectors it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import RudderError, shorten, unknown
from ..recipe import Recipe
from .arguments import Asked, Term, concepts_asked, inverted, model_named, request, settled, terms, way_of

if TYPE_CHECKING:
    from PIL import Image

    from ..backbones.base import Backbone
    from ..grid_recipe import GridRecipe
    from ..inversion import Inverted
    from ..vectors import ConceptVector
    from .options import Invert

VARIED = {"prompt": "the prompt", "seed": "--seed", "window": "--window", "sites": "--site", "model": "--model"}


@dataclass(frozen=True)
class Row:
    """A row's label, its recipe at strength 1, and its concepts."""

    label: str
    recipe: Recipe
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Given:
    """What was typed that holds for every cell; None or () for what was not."""

    model: str | None = None
    prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    negative: str | None = None
    concepts: tuple[str, ...] = ()
    window: str | None = None
    sites: tuple[str, ...] = ()
    halves: str | None = None
    mask: str = ""

    def check(self, axis: str, picture: bool) -> None:
        """RudderError for what the rows of that axis vary themselves, and for a `picture` of one's own where it has no
        place."""
        told = {"prompt": self.prompt, "seed": self.seed, "window": self.window, "sites": self.sites or None,
                "model": self.model}  # fmt: skip
        if axis in told and told[axis] is not None:
            raise RudderError(
                f"The rows of this grid vary what {VARIED[axis]} sets for all: leave it out, or choose another --down."
            )
        if picture and axis == "seed":
            raise RudderError("A picture of yours is there in place of the seed: leave out --image, or --down seed.")
        if picture and axis == "model":
            raise RudderError(
                "A picture of yours is inverted for one model: leave out --image, or paint a grid for each --model."
            )

    def row(
        self, label: str, base: Recipe | None, carried: Mapping[str, ConceptVector], asked: Sequence[Asked] = ()
    ) -> Row:
        """What is given put into `base`, or without one into the model's own settings and the concepts' advice.
        `asked`: the concepts, unless the given ones or the base's are meant."""
        recipe = request(base, self.model, self.prompt, self.seed, self.steps, self.guidance, self.negative)
        asked = asked or concepts_asked(self.concepts, recipe, self.window, self.sites)
        if not asked:
            raise RudderError("No concept is given: add --concept name (`rudder concept list` shows the names).")
        meant = terms(asked, dict(carried), model_named(recipe.model).name, recommended=True)
        recipe = settled(recipe, meant, self.window, self.sites, self.halves, fresh=base is None)
        return Row(label, replace(recipe, mask=self.mask or recipe.mask, strip=None), tuple(meant))

    def alone(self, row: Row, name: str) -> Row:
        """A row of that concept alone, with its own advice where nothing is given; RudderError if it is not there."""
        found = {term.name: term for term in row.terms}
        if name not in found:
            raise unknown("concept", name, found, "add it by --concept, or choose one of")
        recipe = settled(row.recipe, [found[name]], self.window, self.sites, self.halves, fresh=True)
        return Row(name, recipe, (found[name],))


@dataclass(frozen=True)
class Plan:
    """A grid before its model is read. `rows`: all of them, or where they are still `told` the one that
    `axes.rows_of` makes them of; `labels`: all of theirs; `title`: what stands above the sheet."""

    axis: str
    across: tuple[float, ...]
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    told: str
    title: str


def planned(
    given: Given, down: str, told: str, across: tuple[float, ...], kept: GridRecipe | None,
    carried: Mapping[str, ConceptVector], picture: bool,
) -> Plan:  # fmt: skip
    """The grid that was asked for: rows `told` of the kind `down` (that of `kept`, where it goes on from one), at the
    strengths `across`. `carried`: vectors that came with `kept`; `picture`: whether it begins with one of one's own.

    RudderError for all that can be told before the model is read.
    """
    from ..axes import labels_of
    from ..grid import check_size

    axis = down or (kept.axis if kept else "")
    if bool(told) != bool(down) and not (told and axis):
        raise RudderError("--down and --rows belong together: give both, or neither for one row.")
    given.check(axis, picture)
    labels = labels_of(axis, told) if told else ()
    if kept and not told:
        rows = rows_again(given, kept, carried)
    else:
        rows = rows_given(given, axis, labels, kept, carried)
    labels = labels or tuple(row.label for row in rows)
    check_size(len(labels), len(across))
    mark = next((row.recipe.picture for row in rows if row.recipe.picture), "")
    if mark and not picture:
        raise RudderError(
            f"This grid begins with a picture of somebody's own ({shorten(mark)}), which it does not hold: give that "
            "very picture with --image."
        )
    names = dict.fromkeys(term.name for row in rows for term in row.terms)
    title = ", ".join([*([] if axis == "prompt" else [rows[0].recipe.prompt or "no prompt"]), *names])
    return Plan(axis, across, labels, tuple(rows), "" if axis in ("concept", "model") else told, title)


def rows_given(
    given: Given, axis: str, labels: Sequence[str], kept: GridRecipe | None, carried: Mapping[str, ConceptVector]
) -> list[Row]:
    """A row for each label; a single one, of which `axes.rows_of` then makes the others, where the axis is not concept
    or model. `kept`: the grid whose first row they are made of, else they are made afresh."""
    base = kept.rows[0][1] if kept else None
    if axis == "model":
        if base is not None:  # another model takes its own settings and advice
            told = replace(given, prompt=base.prompt if given.prompt is None else given.prompt,
                           seed=base.seed if given.seed is None else given.seed,
                           negative=base.negative_prompt if given.negative is None else given.negative,
                           mask=given.mask or base.mask)  # fmt: skip
            names = () if given.concepts else tuple(Asked(name) for name, _ in base.concepts)
            return [replace(told, model=label).row(label, None, carried, names) for label in labels]
        return [replace(given, model=label).row(label, None, carried) for label in labels]
    asked: dict[str, Asked] = {}
    if axis == "concept" and kept and not given.concepts:
        for _, recipe in kept.rows:
            asked |= {one.name: one for one in concepts_asked((), recipe, given.window, given.sites)}
    row = given.row("", base, carried, tuple(asked.values()))
    if axis == "concept":
        return [given.alone(row, label) for label in labels]
    return [replace(row, label=row.recipe.prompt)]


def rows_again(given: Given, kept: GridRecipe, carried: Mapping[str, ConceptVector]) -> list[Row]:
    """The rows of a grid that was kept, with what is given put into each."""
    if given.concepts and kept.axis == "concept":
        raise RudderError("The rows of this grid are concepts: give --rows beside --concept, or leave both out.")
    made = [given.row(label, recipe, carried) for label, recipe in kept.rows]
    return made if kept.axis else [replace(row, label=row.recipe.prompt) for row in made]


def begun(
    backbone: Backbone, picture: Image.Image, rows: Sequence[tuple[str, Recipe]], asked: Invert | None
) -> tuple[list[tuple[str, Recipe]], list[Inverted]]:
    """The rows as they begin with a picture of one's own, and that inverted for each, once for all that run alike."""
    found = {key: inverted(backbone, picture, one, way_of(asked, one)) for key, one in alike(rows).items()}
    runs = [found[_run(recipe)] for _, recipe in rows]
    marked = [(label, replace(one, picture=run.mark)) for (label, one), run in zip(rows, runs, strict=True)]
    return marked, runs


def alike(rows: Sequence[tuple[str, Recipe]]) -> dict[tuple[str, str, int, float], Recipe]:
    """A recipe for each time that a picture has to be inverted for these rows, by what that depends on."""
    return {_run(recipe): recipe for _, recipe in rows}


def _run(recipe: Recipe) -> tuple[str, str, int, float]:
    return recipe.prompt, recipe.negative_prompt, recipe.num_inference_steps, recipe.guidance_scale
