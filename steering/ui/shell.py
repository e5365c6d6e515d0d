"""What frames the page, as plain text: header, opening words, stage, scripts. The door shows it too."""

from __future__ import annotations

from ..errors import RudderError
from ..files import shipped

ASSETS = shipped() / "assets"
LAB = ("maths", "case", "data", "plots", "words", "panel", "picker", "sides", "figure")
STAGE_SCRIPTS = ("page.js", "drop.js", "helm.js", "reading.js", "download.js", "large.js", "stage.js")
SCRIPTS = (
    *STAGE_SCRIPTS, "pickers.js", "model.js", "tips.js", "onset.js", "audit.js", "concepts.js", "marks.js", "link.js",
    "grid.js", "compose-canvas.js", "compose-terms.js", "compose.js",
    *(f"lab-{part}.js" for part in LAB), "lab.js",
)  # fmt: skip
STYLES = ("rudder.css", "lab.css", "concepts.css", "grid.css", "compose.css")
FONT = "fonts/stix-two-math.woff2"
ICON = "rudder.svg"

HEADER = """
<header class="rd-header">
  <div class="rd-brand">
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <circle cx="16" cy="16" r="13"/><circle cx="16" cy="16" r="3.2"/>
      <path d="M16 1v11.5M16 19.5V31M1 16h11.5M19.5 16H31"/><path class="is-course" d="M16 16 27 5"/></svg>
    <h1>Rudder</h1>
    <p>Steer what a diffusion model paints, from the inside.</p>
  </div>
  <button type="button" class="rd-theme" aria-pressed="false" aria-label="Dark colours"><span></span></button>
</header>
"""
LEDE = """
<div class="rd-lede">
  <h2>Which of the two answers the helm?</h2>
  <p>Both pictures get the same concept, added to the model's hidden activations while it paints.
  Drag the strength and watch: does the picture change step by step, or does it hold its course and
  then jump?</p>
</div>
"""
STAGE = '<section class="rd-stage" aria-label="Pictures"></section>'


def check_assets() -> None:
    """RudderError naming the first file that no page can do without, where it is missing or cannot be read."""
    for name in (*(f"css/{n}" for n in STYLES), *(f"js/{n}" for n in SCRIPTS), FONT, ICON):
        try:
            with (ASSETS / name).open("rb"):
                pass
        except OSError as wrong:
            raise RudderError(
                f"assets/{name} cannot be read ({wrong.strerror}): restore it with `git checkout assets`, or install "
                "Rudder anew."
            ) from wrong


def scripts(names: tuple[str, ...] = SCRIPTS) -> str:
    """The named files of assets/js as one <script> for the head."""
    return "<script>\n" + "\n".join((ASSETS / "js" / n).read_text(encoding="utf-8") for n in names) + "\n</script>"
