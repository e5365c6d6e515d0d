"""Your own set: pictures or a zip become a vector of this session; vectors come and go as files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..concepts import ConceptVector, Progress
from ..errors import Cancelled, RudderError, shorten
from ..images import Limits, open_images
from . import notices
from .panels import Controls, concept_items
from .pictures import contact_sheet, thumbnail
from .session import Session
from .studio import Studio, start_of

LIMITS = Limits(files=200, file_bytes=10 * 2**20, total_bytes=60 * 2**20)
REMARKS = 6  # sentences about a set that are shown
WAITING = "() => ({ text: 'Waiting for its turn', busy: true, done: 0, total: 1 })"
STOPPED = """() => ({ busy: false, text: document.querySelector(".rd-learning.is-busy")
  ? "Learning was stopped: nothing was kept, start again when you like." : "" })"""
PROGRESS = '<div class="rd-learning" role="status"><i class="rd-bar"><i></i></i><p></p></div>'
PROGRESS_SCRIPT = """
watch("value", () => {
  const { done = 0, total = 1, text = "", busy = false } = props.value || {};
  element.querySelector("p").textContent = text;
  element.querySelector(".rd-bar i").style.width = `${busy ? (100 * done) / total : 0}%`;
  element.querySelector(".rd-learning").classList.toggle("is-busy", busy);
});
"""


@dataclass
class OwnSet:
    """The components of the panel."""

    pictures: gr.File
    baseline: gr.File
    name: gr.Textbox
    caption: gr.Textbox
    learn: gr.Button
    stop: gr.Button
    progress: gr.HTML
    vector: gr.UploadButton
    download: gr.DownloadButton


def own_set_panel(unfolded: bool = False) -> OwnSet:
    """The panel under the concept picker, folded unless there is nothing else to steer with."""
    with gr.Accordion("Your own set", open=unfolded, elem_id="rd-own", elem_classes="rd-own"):
        gr.HTML(
            "<p class='rd-hint'>A handful of pictures that share one thing. The vector joins the concepts "
            "above, for this session.</p>"
        )
        pictures = gr.File(
            label="Pictures or a zip",
            file_count="multiple",
            height=112,
            elem_id="rd-own-pictures",
        )
        baseline = gr.File(
            label="Baseline: the same without it (optional)",
            file_count="multiple",
            height=112,
            elem_id="rd-own-baseline",
        )
        name = gr.Textbox(label="Name", placeholder="my style", max_lines=1, elem_id="rd-own-name")
        caption = gr.Textbox(
            label="What they show (optional)",
            placeholder="a prompt that fits all of them",
            max_lines=1,
            elem_id="rd-own-caption",
        )
        with gr.Row():
            learn = gr.Button("Learn", variant="secondary", elem_id="rd-learn", min_width=90)
            stop = gr.Button("Stop", variant="secondary", elem_id="rd-learn-stop", min_width=70)
        progress = gr.HTML({}, html_template=PROGRESS, js_on_load=PROGRESS_SCRIPT, elem_id="rd-learning")
        with gr.Row():
            vector = gr.UploadButton(
                "Open vector", file_types=[".safetensors"], size="sm", elem_id="rd-open-vector", min_width=90
            )
            download = gr.DownloadButton(
                "Save vector", size="sm", elem_id="rd-save-vector", interactive=False, min_width=90
            )
    return OwnSet(pictures, baseline, name, caption, learn, stop, progress, vector, download)


def learn_set(
    studio: Studio,
    session: Session,
    pictures: list[str] | None,
    baseline: list[str] | None,
    name: str,
    caption: str,
    limits: Limits = LIMITS,
) -> Iterator[Progress | str]:
    """Learn a vector from uploaded files; yields Progress, then the name it has in the picker.

    Raises RudderError for no or bad pictures, no name, or when stopped.
    """
    if not pictures:
        raise RudderError("There are no pictures yet: choose several, or a zip, under 'Pictures or a zip'.")
    name = (name or "").strip()
    if not 0 < len(name) <= 40:
        raise RudderError("The set needs a name of 1 to 40 characters: fill in 'Name'.")
    with session.task("learn") as stop:
        yield Progress(0, 1, "opening the pictures")
        left_out: list[str] = []
        shown = open_images(pictures, limits, left_out.append, stop)
        against = open_images(baseline, limits, left_out.append, stop) if baseline else []
        words = {"prompt": (caption or "").strip(), "baseline_prompt": ""}
        vector = None
        for item in studio.learn(name, shown, against, stop=stop, **words):
            if isinstance(item, Progress):
                yield item
            else:
                vector = item
        assert vector is not None
        remarks = [*left_out, *vector.provenance.get("remarks", [])]
        vector = vector.replace(provenance={**vector.provenance, "remarks": remarks}) if remarks else vector
        faces = {
            "face": thumbnail(shown[0]),
            "examples": contact_sheet(shown),
            "baseline": contact_sheet(against),
        }
        yield session.keep(vector, faces, set(studio.concepts))


def add_vector(studio: Studio, session: Session, path: str) -> str:
    """Take in a vector file, checked against this page's model; returns its name in the picker."""
    return session.keep(ConceptVector.load(path, studio.backbone), {}, set(studio.concepts))


def told_of(vector: ConceptVector, how: str = "Learned") -> str:
    """What is said once a vector is there: what was left out of its sets, whether it takes, what to do next."""
    remarks = [shorten(told, 300) for told in _texts(vector.provenance.get("remarks"))]
    parts = [f"{how} “{vector.name}”.", *remarks, str(vector.recommended.get("why", ""))]
    return " ".join([*filter(None, parts), "Press Generate to steer with it."])


def _texts(value: Any) -> list[str]:
    """The texts of a list that a vector file may hold, the first few."""
    return [one for one in value if isinstance(one, str)][:REMARKS] if isinstance(value, list) else []


def vector_file(session: Session, name: str) -> str | None:
    """The selected concept's vector as a file to download; None for shipped ones."""
    vector = session.vectors.get(name)
    if vector is None:
        return None
    safe = "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in name).strip()
    path = session.folder() / f"{safe[:40] or 'vector'}.safetensors"  # 40 letters are at most 160 bytes
    vector.save(path)
    return str(path)


def wire(studio: Studio, own: OwnSet, session: gr.State, controls: Controls, notice: gr.HTML) -> None:
    """Connect the panel: learning streams its progress, a new vector is selected in the picker at once."""
    concept = controls.concept
    chosen = [concept, own.download, controls.start, controls.end, controls.halves]
    nothing = [gr.skip()] * len(chosen)

    def picked(owner: Session, name: str) -> list[Any]:
        """The new vector chosen in the picker, with the window and halves it advises."""
        picker = gr.HTML(value=name, items=concept_items(studio, owner))
        file = gr.DownloadButton(value=vector_file(owner, name), interactive=True)
        (start, end), halves = start_of(owner.vectors[name])
        return [picker, file, start, end, halves]

    def on_learn(owner: Session, pictures: Any, baseline: Any, name: str, caption: str) -> Iterator[Any]:
        def items() -> Iterator[Any]:
            try:
                yield from told()
            except Cancelled as stopped:
                yield {"text": str(stopped), "busy": False}, *nothing, gr.skip()

        def told() -> Iterator[Any]:
            last = 0.0
            for item in learn_set(studio, owner, pictures, baseline, name, caption):
                if isinstance(item, str):
                    said = {"text": told_of(owner.vectors[item]), "busy": False}
                    yield said, *picked(owner, item), gr.skip()
                elif time.monotonic() - last > 0.12:
                    last = time.monotonic()
                    said = {"done": item.done, "total": item.total, "text": item.message, "busy": True}
                    yield said, *nothing, gr.skip()

        yield from notices.guarded(items(), lambda told: ({"text": "", "busy": False}, *nothing, told))

    def on_vector(owner: Session, path: str) -> list[Any]:
        def action() -> list[Any]:
            name = add_vector(studio, owner, path)
            said = {"text": told_of(owner.vectors[name], "Opened"), "busy": False}
            return [said, *picked(owner, name), gr.skip()]

        return notices.attempt(action, lambda told: [gr.skip(), *nothing, told])

    def on_select(owner: Session, name: str) -> Any:
        path = vector_file(owner, str(name))
        return gr.DownloadButton(value=path, interactive=path is not None)

    own.learn.click(None, None, own.progress, js=WAITING, api_visibility="private")
    learning = own.learn.click(
        on_learn,
        [session, own.pictures, own.baseline, own.name, own.caption],
        [own.progress, *chosen, notice],
        concurrency_id="learning",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    own.stop.click(None, None, own.progress, js=STOPPED, api_visibility="private")
    own.stop.click(
        lambda owner: owner.stop_task("learn"),
        session,
        None,
        queue=False,
        cancels=[learning],  # also one that still waits in the queue
        api_visibility="private",
    )
    own.vector.upload(
        on_vector,
        [session, own.vector],
        [own.progress, *chosen, notice],
        show_progress="hidden",
        api_visibility="private",
    )
    concept.select(
        on_select,
        [session, concept],
        own.download,
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
