"""`visualize`: draw predictions and their scores as a page or picture."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import east_asian_width

import typer

from ..errors import Errors, require
from .console import shown_errors, with_progress

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# displaCy's own entity box, with the score behind the label.
ENTITY = (
    '<mark class="entity" style="background: {bg}; padding: 0.3em 0.5em; margin: 0 0.2em; '
    'line-height: 1.9; border-radius: 0.35em;">{text}'
    '<span style="font-size: 0.7em; font-weight: bold; margin-left: 0.5em; '
    'vertical-align: middle">{label} <span style="font-weight: normal">{score}</span></span>'
    "</mark>"
)
# A picture is a page of this width, in pixels, and as high as its lines.
WIDTH, LINE_HEIGHT, CHARACTER_WIDTH, WIDE_WIDTH, MARGIN = 880, 38, 8.6, 16, 12
# What an entity's box takes beside its text and label: score and padding, in characters.
BOX = 8
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'viewBox="0 0 {width} {height}"><rect width="100%" height="100%" fill="#ffffff"/>'
    '<foreignObject x="{margin}" y="{margin}" width="{inner}" height="100%">'
    '<div xmlns="http://www.w3.org/1999/xhtml" style="font-family: Helvetica, Arial, sans-serif; '
    'font-size: 16px; color: #222222">{markup}</div></foreignObject></svg>\n'
)
COLORS = ("#bfe1d9", "#ffd8a8", "#d0bfff", "#ffc9c9", "#a5d8ff", "#ffec99", "#c0eb75", "#eebefa")


def visualize(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="Trained pipeline, or a checkpoint, run as a pipeline of its own.",
        ),
    ],
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS",
            help="A .spacy file, or a .txt file with one text a line.",
            exists=True,
            dir_okay=False,
        ),
    ],
    output_path: Annotated[
        Path, typer.Argument(metavar="OUT", help="Page (.html) or picture (.svg) to write.")
    ],
    limit: Annotated[int, typer.Option(help="Show only this many texts.")] = 40,
    lang: Annotated[
        str, typer.Option(help="Language of a pipeline made from a checkpoint.")
    ] = "en",
) -> None:
    """Write a displaCy page or picture of the entities that a pipeline finds, with scores."""
    with shown_errors():
        require("spacy", "Visualizing")
        from ..pipeline.docs import register_extensions
        from ..pipeline.evaluation import load_pipeline

        if output_path.suffix not in (".html", ".svg"):
            raise ValueError(Errors.P311.format(path=output_path))
        nlp = load_pipeline(pipeline, lang)
        # Other components' entities have no score.
        register_extensions()
        texts = _read_texts(corpus, nlp)[:limit]
        docs = list(with_progress(nlp.pipe(texts), len(texts)))
        render = render_picture if output_path.suffix == ".svg" else render_page
        output_path.parent.mkdir(parents=True, exist_ok=True)
        output_path.write_text(render(docs), encoding="utf8")
    typer.echo(f"{len(docs)} texts: {output_path}")


def _read_texts(path: Path, nlp: Language) -> list[str]:
    from ..corpus.docs import load_docs
    from ..corpus.lines import numbered_lines

    if path.suffix == ".txt":
        return [line.strip() for _, line in numbered_lines(path) if line.strip()]
    return [doc.text for doc in load_docs(path, nlp.vocab)]


def render_page(docs: list[Doc]) -> str:
    """Write an HTML page with the texts of docs, their entities and scores."""
    return _render(docs, page=True)


def render_picture(docs: list[Doc]) -> str:
    """Write the same as an SVG picture, for places that show no HTML. It is as high as the texts
    take, at most.
    """
    inner = WIDTH - 2 * MARGIN
    lines = sum(_count_lines(doc, inner) for doc in docs)
    height = lines * LINE_HEIGHT + (len(docs) + 1) * 2 * MARGIN
    # displaCy's line breaks are no XML.
    markup = _render(docs, page=False).replace("<br>", "<br/>").replace("</br>", "<br/>")
    return PICTURE.format(width=WIDTH, height=height, margin=MARGIN, inner=inner, markup=markup)


def _count_lines(doc: Doc, width: int) -> int:
    count = start = 0
    for line in doc.text.split("\n"):
        end = start + len(line)
        labels = [ent.label_ for ent in doc.ents if start <= ent.start_char <= end]
        shown = _text_width(line) + sum(_text_width(label + " " * BOX) for label in labels)
        # A tenth more, as a line ends with a whole word.
        count += max(1, math.ceil(1.1 * shown / width))
        start = end + 1
    return count


def _text_width(text: str) -> float:
    wide = sum(east_asian_width(character) in "WF" for character in text)
    return wide * WIDE_WIDTH + (len(text) - wide) * CHARACTER_WIDTH


def _render(docs: list[Doc], *, page: bool) -> str:
    from spacy import displacy

    labels = sorted({escape(ent.label_) for doc in docs for ent in doc.ents})
    colors = {label: COLORS[place % len(COLORS)] for place, label in enumerate(labels)}
    markup: str = displacy.render(
        [_parsed(doc) for doc in docs],
        style="ent",
        page=page,
        manual=True,
        jupyter=False,
        options={"colors": colors, "template": ENTITY},
    )
    return markup


def _parsed(doc: Doc) -> dict[str, Any]:
    return {
        "text": doc.text,
        "title": None,
        "ents": [
            {
                "start": ent.start_char,
                "end": ent.end_char,
                # displaCy escapes texts, but no labels.
                "label": escape(ent.label_),
                "params": {"score": "" if ent._.score is None else f"{ent._.score:.2f}"},
            }
            for ent in doc.ents
        ],
    }
