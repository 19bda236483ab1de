"""`predict`: write the mentions of a corpus as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ..settings import DecodingOptions
from .console import (
    CheckpointArgument,
    CorpusArgument,
    FormatOption,
    LimitOption,
    ReplicaOptions,
    parse_threshold,
    shown_errors,
    with_options,
    with_progress,
)

# What is written of an entity.
_KEYS = ("start", "end", "label", "score")


@with_options
def predict(
    checkpoint: CheckpointArgument,
    corpus: CorpusArgument,
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="JSON lines file to write.")],
    format: FormatOption = "auto",
    limit: LimitOption = None,
    batch_size: Annotated[int, typer.Option(help="Number of texts to decode at once.", min=1)] = 16,
    threshold: Annotated[
        str,
        typer.Option(help="Leave out mentions with a lower score: 0.5, or PER=0.8,LOC=0.6."),
    ] = "0",
    tag_share: Annotated[
        float, typer.Option(help="Weight of text tags in a probability, if the model has them.")
    ] = DecodingOptions.tag_share,
    decode: Annotated[
        str,
        typer.Option(help="Labels to write, if the model has text tags: doubtful, all or tags."),
    ] = DecodingOptions.decode,
    *,
    model: ReplicaOptions,
) -> None:
    """Find the mentions in a corpus, with their scores, and compare them with the gold mentions.

    The comparison uses the paper's scores over sets of mention strings. Texts without annotation,
    such as the lines of a .txt file, are only read.
    """
    with shown_errors():
        from ..corpus.formats import read_annotated_texts
        from ..corpus.options import ReadingOptions
        from ..model import PaDeLLM
        from ..scoring import MentionScores

        reading = ReadingOptions(format=format, with_gold=False)
        texts = read_annotated_texts(corpus, options=reading)[:limit]
        options = {**vars(model), "device": model.devices[0]}
        devices = model.devices if len(model.devices) > 1 else ()
        padellm = PaDeLLM.from_pretrained(
            checkpoint,
            devices=devices,
            threshold=parse_threshold(threshold),
            tag_share=tag_share,
            decode=decode,
            **options,
        )
        labels = padellm.settings.labels
        scores = MentionScores()
        remaining = iter(with_progress(texts, len(texts)))
        output_path.parent.mkdir(parents=True, exist_ok=True)
        # Under its own name only when whole.
        part_path = output_path.with_name(f"{output_path.name}.part")
        with part_path.open("w", encoding="utf8") as output:
            while batch := list(islice(remaining, batch_size)):
                found = padellm.predict([text.source for text in batch], nested=True)
                for text, entities in zip(batch, found, strict=True):
                    mentions = [{key: vars(entity)[key] for key in _KEYS} for entity in entities]
                    line = {"text": text.source.text, "mentions": mentions}
                    output.write(json.dumps(line, ensure_ascii=False) + "\n")
                    scores.add_text(text, entities, labels)
        part_path.replace(output_path)
    typer.echo(f"{len(texts)} texts: {output_path}")
    typer.echo(padellm.cost.describe())
    others = Counter(m.label for text in texts for m in text.mentions)
    if unsought := others.keys() - set(labels):
        count = sum(others[label] for label in unsought)
        names = ", ".join(sorted(unsought))
        typer.echo(
            f"{count} gold mentions are not counted, as the model lacks their labels: {names}"
        )
    if all(text.labels == () for text in texts):
        # Nothing to compare with.
        return
    typer.echo(
        f"mentions_p {scores.precision:.4f}, mentions_r {scores.recall:.4f}, "
        f"mentions_f {scores.fscore:.4f} (of {scores.gold} gold mentions)"
    )
