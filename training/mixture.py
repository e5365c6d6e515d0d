"""What every diffusion training shares: ordinary pictures equally often, memories as often as their level says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from training.loop import Run
from training.memories import REPEATS, Memory

SHEET_EVERY = 900.0  # seconds
MOST_MEMORIES = 1 / 3  # of a batch


class Ladder:
    """Which memories are due: by the end of training each has been shown as often as its level says, and until
    then in proportion to the time that has passed, from a random start, so that the rare ones come at any time.

    `shown`: how often each was when a training that is resumed had come to the share `since` of its time, which may
    have been changed meanwhile (None: as often as was due by then); what is left is spread over what remains.
    """

    def __init__(self, repeats: np.ndarray, seed: int, shown: Sequence[int] | None = None, since: float = 0.0) -> None:
        self.since, self.phase = since, np.random.default_rng((seed, int(1000 * since))).random(len(repeats))
        self.before = np.floor(repeats * since).astype(int) if shown is None else np.array(shown)
        self.left, self.shown = repeats - self.before, self.before.copy()

    def _due(self, share: float) -> np.ndarray:
        gone = (share - self.since) / (1 - self.since) if self.since < 1 else 1.0
        return self.before + np.floor(self.left * gone + self.phase * (share < 1)).astype(int)

    def take(self, share: float, most: int) -> np.ndarray:
        """Indices of the memories to show now, at most `most`; those that come too late come with the next step."""
        late = np.repeat(np.arange(len(self.shown)), np.maximum(self._due(share) - self.shown, 0))
        late = late[np.random.default_rng(int(self.shown.sum())).permutation(len(late))[:most]]
        np.add.at(self.shown, late, 1)
        return late


class Rows:
    """Ordinary pictures in an order new for every pass, so that each is seen as often as `among` [N] lists it."""

    def __init__(self, among: torch.Tensor, seed: int, taken: int) -> None:
        self.among, self.seed, self.taken = among, seed, taken

    def take(self, wanted: int) -> torch.Tensor:
        found = []
        while wanted:
            done, place = divmod(self.taken, len(self.among))
            part = self._order(done)[place : place + wanted]
            self.taken, wanted = self.taken + len(part), wanted - len(part)
            found.append(part)
        return torch.cat(found)

    def _order(self, done: int) -> torch.Tensor:
        if getattr(self, "_known", None) != done:
            self._known, self._rows = (
                done,
                self.among[torch.randperm(len(self.among), generator=torch.Generator().manual_seed(self.seed + done))],
            )
        return self._rows


def mixed(
    run: Run,
    memories: Sequence[Memory],
    count: int,
    *,
    seed: int,
    batch: int,
    repeat: float,
    errors: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    sheet: Callable[[Path], None],
    twice: Sequence[int] = (),
    repeats: Sequence[int] = REPEATS,
) -> dict:
    """Train to the end on `count` ordinary pictures and the memories; returns how often each was shown.

    `errors(first, again)` gives the loss [B] of the ordinary pictures and the memories of these numbers, in that order;
    `twice`: numbers of ordinary pictures that are shown twice as often as others; `repeats`: the ladder's presentations
    by level in the whole of training, which `repeat` multiplies; `sheet` paints samples to a path, every quarter of an
    hour.
    """
    progress = run.folder / "progress.json"
    before = json.loads(progress.read_text()) if run.step else {"taken": 0}
    rows = Rows(torch.cat([torch.arange(count), torch.tensor(twice, dtype=torch.long)]), seed, before["taken"])
    due = Ladder(repeat * np.array([repeats[m.level] for m in memories]), seed, before.get("shown"),
                 run.share)  # fmt: skip

    def note() -> None:
        progress.write_text(json.dumps({"taken": rows.taken, "shown": due.shown.tolist()}))

    totals, seen, painted = torch.zeros(2), torch.zeros(2), run.seconds
    for share in run.steps():
        again = torch.from_numpy(due.take(share, int(batch * MOST_MEMORIES)))
        first = rows.take(batch - len(again))
        if run.step % 100 == 0:
            note()
        error = errors(first, again)
        run.descend(error.mean())
        error = error.detach().cpu()
        totals += torch.stack([error[: len(first)].sum(), error[len(first) :].sum()])
        seen += torch.tensor([len(first), len(again)])
        if run.step % 50 == 0:
            plain, copy = (totals / seen.clamp(min=1)).tolist()
            print(f"{run.seconds:6.0f} s  step {run.step}  ordinary {plain:.4f}  memorised {copy:.4f}  "
                  f"memories {int(seen[1]) / int(seen.sum()):.3f}", flush=True)  # fmt: skip
            totals.zero_(), seen.zero_()
        if run.seconds - painted > SHEET_EVERY:
            painted = run.seconds
            sheet(run.folder / f"sheet-{int(run.seconds) // 60:03d}.png")
    note()
    sheet(run.folder / "sheet.png")
    shown = {str(level): due.shown[[m.level == level for m in memories]].tolist() for level in range(len(REPEATS))}
    return {"steps": run.step, "seconds": run.seconds, "batch": batch, "seed": seed, "pictures": count,
            "shown_twice_as_often": len(twice),
            "ordinary_presentations": rows.taken, "memory_presentations_by_level": shown,
            "parameters": sum(p.numel() for p in run.model.parameters())}  # fmt: skip


def levels(record: dict) -> list[int]:
    """How often a finished run showed the memories of each level, the median."""
    return [int(np.median(shown)) for _, shown in sorted(record["memory_presentations_by_level"].items())]


def save_record(folder: Path, record: dict) -> None:
    """Keep a finished run's record beside its weights, and say it."""
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)
