"""Words against vectors: the change that steering makes, asked by words instead, and as far from the unsteered picture.

Two ways to ask. "prompt": another prompt takes over at a step of the run, the earlier the more. "embedding": from the
window's start on the prompt's embedding c gives way to c + a (c' - c), c' that of the other prompt. Both are searched
for the picture whose distance from the unsteered one is nearest to the steered one's, so that what is compared is what
changed and not how much.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .backbones.base import Backbone, Schedule
from .checks import PROMPT_LIMIT, text
from .concepts import Progress
from .errors import Cancelled, RudderError, remark
from .inversion import distance
from .masks import inside, weights
from .plan import Steering
from .recipe import Recipe
from .sampling import condition_of, finish, initial, predictor, sample
from .words import cut_short

if TYPE_CHECKING:
    from .inversion import Inverted

ASKED = ("prompt", "embedding")
AMOUNT = 2.0  # up to which an embedding is moved, 1 being the other prompt's own
FIRST, SECOND = 8, 6  # pictures tried in the two rounds of a search
NEAR = 0.1  # of the distance asked for, within which a picture counts as matched


@dataclass(frozen=True, eq=False)
class Rival:
    """A picture asked for by words. `amount`: the share of the run that the words had ("prompt") or how far the
    embedding moved ("embedding"); `change`: its distance (RMS, 0..1) from the unsteered picture, `wanted`: the
    steered one's."""

    way: str
    image: Image.Image
    amount: float
    change: float
    wanted: float

    @property
    def matched(self) -> bool:
        """Whether it changed about as much as the steered picture."""
        return abs(self.change - self.wanted) <= NEAR * self.wanted

    @property
    def sentence(self) -> str:
        """What was done, and how well the change is matched, for people."""
        if self.way == "prompt":
            done = f"The words took over for the last {100 * self.amount:.0f} % of the steps"
        else:
            done = f"The prompt's embedding went {self.amount:.2f} of the way to the words'"
        if self.matched:
            return f"{done}: as far from the unsteered picture ({255 * self.change:.0f} grey levels)."
        less = "no further" if self.change < self.wanted else "no nearer"
        return (
            f"{done}: {255 * self.change:.0f} grey levels, where steering makes {255 * self.wanted:.0f}; {less} goes."
        )


def work_of(steps: int) -> int:
    """Steps of one picture that a comparison takes at most, of runs of so many."""
    return steps * (2 + len(ASKED) * (FIRST + SECOND))


@dataclass(frozen=True, eq=False)
class _Case:
    """What all pictures of a search share. `path`: unsteered latents [1, C, H, W] before each step and at the end."""

    backbone: Backbone
    recipe: Recipe
    schedule: Schedule
    path: list[Tensor]
    conditions: tuple[Tensor, Tensor]
    plain: Image.Image
    stop: threading.Event | None


def against(
    backbone: Backbone,
    recipe: Recipe,
    steering: Steering,
    words: str,
    *,
    steered: Image.Image | None = None,
    picture: Inverted | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Progress | tuple[Rival, Rival]]:
    """Paint what `words`, a whole prompt, make of the recipe's run: Progress, then the pictures of both ways of ASKED.

    `steered`: the picture that `steering` paints, where it is at hand; else it is painted first. Seed, steps,
    guidance, mask and picture are the recipe's. Raises RudderError for a model that reads no prompts, for words that
    are the recipe's own prompt, or where steering changes nothing; Cancelled once `stop` is set. A Remark names words
    that the model does not read.
    """
    if backbone.classes is not None:
        raise RudderError(f"{backbone.name} reads no prompts: there are no words to compare its steering with.")
    words = text("The prompt to compare with", words, PROMPT_LIMIT, empty=False).strip()
    if words == recipe.prompt.strip():
        raise RudderError("The words are the prompt itself: write what the steered picture should show.")
    if said := cut_short(backbone, [words]):
        remark(said)
    n = recipe.num_inference_steps
    total = n * (2 + 2 * len(ASKED))
    yield Progress(0, total, "painting what is compared")
    if steered is None:
        steered = finish(sample(backbone, recipe, steering, picture=picture, stop=stop)).images[0]
    case = _case(backbone, recipe, words, picture, stop)
    yield Progress(2 * n, total, "painting what is compared")
    wanted = distance(case.plain, steered)
    if wanted == 0:
        raise RudderError("Steering changes nothing here, so there is nothing to match: give it some strength.")
    found, done = [], 2 * n
    for way in ASKED:
        for item in _search(case, way, steering.steps(n).start, wanted):
            if isinstance(item, Rival):
                found.append(item)
            else:
                done += 1
                yield Progress(min(done, total), total, f"asking by the {way}")
    yield found[0], found[1]


def _case(
    backbone: Backbone, recipe: Recipe, words: str, picture: Inverted | None, stop: threading.Event | None
) -> _Case:
    """The unsteered run, every step of it kept."""
    schedule = picture.schedule if picture else backbone.schedule(recipe.num_inference_steps)
    conditions = tuple(condition_of(backbone, recipe, (prompt,)) for prompt in (recipe.prompt, words))
    x = picture.start(1).to(backbone.device) if picture else initial(backbone, [recipe.seed])
    predict, path = predictor(backbone, recipe, conditions[0]), [x]
    for i in range(recipe.num_inference_steps):
        _ask(stop)
        with torch.inference_mode():
            x, _ = schedule.step(i, x, predict)
        path.append(x)
    (plain,) = backbone.decode(x)
    return _Case(backbone, recipe, schedule, path, (conditions[0], conditions[1]), plain, stop)


def _search(case: _Case, way: str, start: int, wanted: float) -> Iterator[int | Rival]:
    """Two rounds of trials, the second between the two of the first that lie about the distance wanted; yields a number
    a step, then the nearest."""
    n = case.recipe.num_inference_steps
    if way == "prompt":
        tried: Sequence[float] = sorted({round(k) for k in np.linspace(1, n, FIRST)})  # steps the words have
    else:
        tried = np.linspace(0, AMOUNT, FIRST + 1)[1:].tolist()
    known: dict[float, tuple[float, Image.Image]] = {}
    for _ in range(2):
        starts = [n - int(value) for value in tried] if way == "prompt" else [start] * len(tried)
        amounts = [1.0] * len(tried) if way == "prompt" else list(tried)
        images: list[Image.Image] = []
        for item in _trials(case, starts, amounts):
            if isinstance(item, int):
                yield item
            else:
                images = item
        known |= {value: (distance(case.plain, image), image) for value, image in zip(tried, images, strict=True)}
        tried = _between(known, wanted, way == "prompt")
        if not tried:
            break
    value = min(known, key=lambda one: (abs(known[one][0] - wanted), one))
    change, image = known[value]
    yield Rival(way, image, value / n if way == "prompt" else value, change, wanted)


def _between(known: dict[float, tuple[float, Image.Image]], wanted: float, whole: bool) -> list[float]:
    """Values to try next: between the last that changes too little and the next one; [] where all change too little."""
    rising = sorted(known)
    over = next((value for value in rising if known[value][0] >= wanted), None)
    if over is None:
        return []
    under = max((value for value in rising if value < over), default=0.0)
    inner = np.linspace(under, over, SECOND + 2)[1:-1].tolist()
    return sorted({float(round(v)) for v in inner} - set(known) - {0.0}) if whole else inner


def _trials(case: _Case, starts: Sequence[int], amounts: Sequence[float]) -> Iterator[int | list[Image.Image]]:
    """The run with the other prompt's condition mixed in, by so much and from such a step on, a picture each."""
    recipe, count, first = case.recipe, len(starts), min(starts)
    own, other = case.conditions
    halves = len(own)
    x = case.path[first].expand(count, -1, -1, -1)
    mask = weights(recipe.mask, case.backbone.latent_shape[1:]).to(x) if recipe.mask else None
    for i in range(first, recipe.num_inference_steps):
        _ask(case.stop)
        share = torch.tensor([a if i >= s else 0.0 for a, s in zip(amounts, starts, strict=True)])
        share = share.repeat(halves).view(-1, *[1] * (own.ndim - 1)).to(own)
        mixed = torch.lerp(own.repeat_interleave(count, 0), other.repeat_interleave(count, 0), share)
        with torch.inference_mode():
            x, _ = case.schedule.step(i, x, predictor(case.backbone, recipe, mixed))
        if mask is not None:
            x = mask * x + (1 - mask) * case.path[i + 1]
        yield i
    images = case.backbone.decode(x)
    yield inside(recipe.mask, images, [case.plain] * count) if recipe.mask else images


def _ask(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Cancelled("Stopped while words were compared: start again when you like.")


def rivals(
    backbone: Backbone, recipe: Recipe, steering: Steering, words: str, steered: Image.Image
) -> tuple[Rival, Rival]:
    """`against` run to its end."""
    *_, last = against(backbone, recipe, steering, words, steered=steered)
    assert isinstance(last, tuple)
    return last
