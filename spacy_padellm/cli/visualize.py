"""`visualize`: a page of predictions with their scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .messages import require, shown_errors
from .progress import with_progress

if TYPE_CHECKING:
    from spacy.tokens import Doc

# displaCy's own entity box, with the score behind the label.
ENTITY = (
    '<mark class="entity" style="background: {bg}; padding: 0.3em 0.5em; margin: 0 0.2em; '
    'line-height: 1.9; border-radius: 0.35em;">{text}'
    '<span style="font-size: 0.7em; font-weight: bold; margin-left: 0.5em; '
    'vertical-align: middle">{label} <span style="font-weight: normal">{score}</span></span>'
    "</mark>"
)
COLORS = ("#bfe1d9", "#ffd8a8", "#d0bfff", "#ffc9c9", "#a5d8ff", "#ffec99", "#c0eb75", "#eebefa")


def visualize(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Trained pipeline.")],
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="A .spacy file.", exists=True, dir_okay=False)
    ],
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="HTML page to write.")],
    limit: Annotated[int, typer.Option(help="Show only the first texts.")] = 40,
) -> None:
    """Write a displaCy page with the entities a pipeline finds in a corpus, and their scores."""
    with shown_errors():
        require("spacy", "Visualizing")
        import spacy
        from spacy.tokens import DocBin

        nlp = spacy.load(pipeline)
        gold = list(DocBin().from_disk(corpus).get_docs(nlp.vocab))[:limit]
        texts = (doc.text for doc in gold)
        docs = list(with_progress(nlp.pipe(texts), len(gold)))
        output_path.parent.mkdir(parents=True, exist_ok=True)
        output_path.write_text(render_page(docs), encoding="utf8")
    typer.echo(f"{len(docs)} texts: {output_path}")


def render_page(docs: list[Doc]) -> str:
    """docs (List[Doc]): Docs with entities.
    RETURNS (str): An HTML page with their texts, entities and scores.
    """
    from spacy import displacy

    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    colors = {label: COLORS[place % len(COLORS)] for place, label in enumerate(labels)}
    page: str = displacy.render(
        [_parsed(doc) for doc in docs],
        style="ent",
        page=True,
        manual=True,
        jupyter=False,
        options={"colors": colors, "template": ENTITY},
    )
    return page


def _parsed(doc: Doc) -> dict[str, Any]:
    return {
        "text": doc.text,
        "title": None,
        "ents": [
            {
                "start": ent.start_char,
                "end": ent.end_char,
                "label": ent.label_,
                "params": {"score": "" if ent._.score is None else f"{ent._.score:.2f}"},
            }
            for ent in doc.ents
        ],
    }
