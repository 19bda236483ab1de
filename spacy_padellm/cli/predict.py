"""`predict`: the mentions of a corpus, as JSON lines."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..defaults import TAG_SHARE
from .console import (
    CheckpointArgument,
    CorpusArgument,
    FormatOption,
    LimitOption,
    ReplicaOptions,
    shown_errors,
    with_options,
    with_progress,
)

if TYPE_CHECKING:
    from ..decode.extraction import MentionExtractor
    from ..scoring import MentionScores
    from ..texts import AnnotatedText


@with_options
def predict(
    checkpoint: CheckpointArgument,
    corpus: CorpusArgument,
    output_path: Annotated[Path, typer.Argument(metavar="OUT", help="JSON lines to write.")],
    format: FormatOption = "auto",
    limit: LimitOption = None,
    batch_size: Annotated[int, typer.Option(help="Texts read at once.", min=1)] = 16,
    threshold: Annotated[float, typer.Option(help="Lowest probability of a mention.")] = 0.0,
    tag_share: Annotated[
        float, typer.Option(help="What text tags count in it, with a model that was taught them.")
    ] = TAG_SHARE,
    *,
    model: ReplicaOptions,
) -> None:
    """Find the mentions of a corpus's texts, with scores, and print how they compare with its
    gold mentions (the paper's scores over sets of mention strings).
    """
    with shown_errors():
        from ..checkpoints.loading import load_checkpoint
        from ..checkpoints.options import LoadOptions
        from ..corpus.formats import read_annotated_texts
        from ..corpus.options import ReadingOptions
        from ..decode.extraction import MentionExtractor
        from ..decode.mentions import Resolution
        from ..decode.replicas import Replicas

        resolution = Resolution(threshold, tag_share=tag_share)
        texts = read_annotated_texts(corpus, options=ReadingOptions(format=format))[:limit]
        load = {**vars(model), "device": model.devices[0]}
        limits = {name: load.pop(name) for name in ("max_mentions", "max_mention_tokens")}
        lm, settings = load_checkpoint(checkpoint, options=LoadOptions(**load), **limits)
        replicas = Replicas(model.devices if len(model.devices) > 1 else ()).of(lm)
        extractor = MentionExtractor(lm, settings, resolution, replicas=replicas)
        output_path.parent.mkdir(parents=True, exist_ok=True)
        # Under its own name only when whole.
        part_path = output_path.with_name(f"{output_path.name}.part")
        with part_path.open("w", encoding="utf8") as output:
            scores = _predict(extractor, texts, batch_size, output)
        part_path.replace(output_path)
    cost = extractor.cost
    typer.echo(f"{len(texts)} texts: {output_path}")
    typer.echo(f"{cost.passes} forward passes, {cost.tokens} tokens run")
    if settings.output_format != "parallel":
        typer.echo(
            f"{cost.malformed} stretches of the {settings.output_format} output malformed, "
            f"{cost.ungrounded} mentions ungrounded"
        )
    others = Counter(m.label for text in texts for m in text.mentions)
    if unsought := others.keys() - set(extractor.labels):
        count = sum(others[label] for label in unsought)
        names = ", ".join(sorted(unsought))
        typer.echo(f"{count} gold mentions of labels it does not look for are not counted: {names}")
    typer.echo(
        f"mentions_p {scores.precision:.4f}, mentions_r {scores.recall:.4f}, "
        f"mentions_f {scores.fscore:.4f} (of {scores.gold} gold mentions)"
    )


def _predict(
    extractor: MentionExtractor, texts: list[AnnotatedText], batch_size: int, output: TextIO
) -> MentionScores:
    import json
    from dataclasses import asdict

    from ..scoring import MentionScores

    scores = MentionScores()
    remaining = iter(with_progress(texts, len(texts)))
    while batch := list(islice(remaining, batch_size)):
        mentions = extractor.extract_long([text.source for text in batch])
        for text, found in zip(batch, mentions, strict=True):
            line = {"text": text.source.text, "mentions": [asdict(mention) for mention in found]}
            output.write(json.dumps(line, ensure_ascii=False) + "\n")
            scores.add_text(text, found, extractor.labels)
    return scores
