"""How the page looks: a sea chart by day and a bridge by night, in fonts that need no network."""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

from .shell import ASSETS, FONT, STYLES, scripts

# Gradio's wheel holds these two with Latin letters; its semi-bold files are Cyrillic only.
WEIGHTS = (400, 700)

INK = colors.Color(
    "#f3f6f7",
    "#e7edef",
    "#d3dde1",
    "#b5c4ca",
    "#8ba0a9",
    "#667d88",
    "#4b616c",
    "#354954",
    "#22333d",
    "#14222b",
    "#0b151c",
    name="ink",
)
MAGENTA = colors.Color(
    "#fdf1f8",
    "#fbe2f0",
    "#f7c3e0",
    "#f096c7",
    "#e55fa8",
    "#d23389",
    "#b3186d",
    "#931358",
    "#741046",
    "#560d35",
    "#340620",
    name="magenta",
)


def chart_theme() -> gr.themes.Base:
    """Pale chart blues, ink, and the magenta that nautical charts print courses and compass roses in."""
    theme = gr.themes.Base(
        primary_hue=MAGENTA,
        secondary_hue=INK,
        neutral_hue=INK,
        radius_size=sizes.radius_sm,
        text_size=sizes.text_md,
        font=[fonts.LocalFont("IBM Plex Sans", WEIGHTS), "Segoe UI", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=[
            fonts.LocalFont("IBM Plex Mono", WEIGHTS),
            "ui-monospace",
            "Menlo",
            "Consolas",
            "monospace",
        ],
    )
    return theme.set(
        body_background_fill="#e9f0f2",
        body_background_fill_dark="#0b151c",
        body_text_color="#14222b",
        body_text_color_dark="#e2ebef",
        body_text_color_subdued="#4b616c",
        body_text_color_subdued_dark="#93a9b4",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#121f28",
        background_fill_secondary="#f3f6f7",
        background_fill_secondary_dark="#0f1a22",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="#354954",
        block_label_text_color_dark="#b5c4ca",
        block_title_text_color="#14222b",
        block_title_text_color_dark="#e2ebef",
        block_title_text_weight="700",
        block_title_text_size="0.875rem",
        block_info_text_color="#4b616c",
        block_info_text_color_dark="#93a9b4",
        block_info_text_size="0.8rem",
        border_color_primary="#d3dde1",
        border_color_primary_dark="#22333d",
        input_background_fill="#ffffff",
        input_background_fill_dark="#0b151c",
        input_border_color="#b5c4ca",
        input_border_color_dark="#354954",
        input_border_color_focus="#b3186d",
        input_border_color_focus_dark="#f096c7",
        input_border_width="1px",
        input_padding="9px 11px",
        input_shadow_focus="0 0 0 2px #b3186d33",
        input_shadow_focus_dark="0 0 0 2px #f096c733",
        slider_color="#4b616c",
        slider_color_dark="#8ba0a9",
        checkbox_background_color_selected="#b3186d",
        checkbox_background_color_selected_dark="#e55fa8",
        checkbox_border_color_selected="#b3186d",
        checkbox_border_color_selected_dark="#e55fa8",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        button_secondary_background_fill="#e7edef",
        button_secondary_background_fill_hover="#d3dde1",
        button_secondary_background_fill_dark="#22333d",
        button_secondary_background_fill_hover_dark="#354954",
        button_secondary_text_color="#14222b",
        button_secondary_text_color_dark="#e2ebef",
        panel_background_fill="transparent",
        panel_background_fill_dark="transparent",
        layout_gap="14px",
    )


def math_font() -> str:
    """The formulas' font (assets/fonts) as a <style> for the head: a browser without one misplaces superscripts."""
    data = base64.b64encode((ASSETS / FONT).read_bytes()).decode()
    return f'<style>@font-face {{ font-family: "Rudder Math"; src: url(data:font/woff2;base64,{data}) }}</style>'


def launch_look() -> dict[str, Any]:
    """What Blocks.launch needs for the look: theme, style sheet, font, scripts."""
    styles = [ASSETS / "css" / name for name in STYLES]
    return {"theme": chart_theme(), "css_paths": styles, "head": math_font() + scripts()}
