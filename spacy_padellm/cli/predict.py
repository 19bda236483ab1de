"""`predict`: the mentions of a corpus, as JSON lines."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..defaults import TAG_SHARE
from .messages import shown_errors
from .options import (
    CheckpointArgument,
    CorpusArgument,
    DeviceOption,
    DtypeOption,
    FormatOption,
    LimitOption,
    MaxMentionsOption,
    MaxMentionTokensOption,
)
from .progress import with_progress

if TYPE_CHECKING:
    from ..core.extraction import MentionExtractor
    from ..core.scoring import MentionScores
    from ..core.texts import AnnotatedText
    from ..core.windows import Fit


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
    max_mentions: MaxMentionsOption = None,
    max_mention_tokens: MaxMentionTokensOption = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
) -> None:
    """Find the mentions of a corpus's texts, with scores, and print how they compare with its
    gold mentions (the paper's scores over sets of mention strings).
    """
    with shown_errors():
        from ..core.checkpoints.loading import load_checkpoint
        from ..core.checkpoints.options import LoadOptions
        from ..core.extraction import MentionExtractor
        from ..core.mentions import Resolution
        from ..core.prompt import PromptEncoder
        from ..core.windows import Fit
        from ..corpus.formats import read_annotated_texts

        resolution = Resolution(threshold, tag_share=tag_share)
        texts = read_annotated_texts(corpus, format=format)[:limit]
        lm, settings = load_checkpoint(
            checkpoint,
            options=LoadOptions(device=device, dtype=dtype),
            max_mentions=max_mentions,
            max_mention_tokens=max_mention_tokens,
        )
        extractor = MentionExtractor(lm, settings, resolution)
        fits = Fit(lm, PromptEncoder(settings.template, settings.labels, lm.tokenizer), settings)
        output_path.parent.mkdir(parents=True, exist_ok=True)
        # Under its own name only when whole.
        part_path = output_path.with_name(f"{output_path.name}.part")
        with part_path.open("w", encoding="utf8") as output:
            scores = _predict(extractor, fits, texts, batch_size, output)
        part_path.replace(output_path)
    cost = extractor.cost
    typer.echo(f"{len(texts)} texts: {output_path}")
    typer.echo(f"{cost.passes} forward passes, {cost.tokens} tokens run")
    if settings.output_format != "parallel":
        typer.echo(
            f"{cost.malformed} stretches of the {settings.output_format} output malformed, "
            f"{cost.ungrounded} mentions ungrounded"
        )
    typer.echo(
        f"mentions_p {scores.precision:.4f}, mentions_r {scores.recall:.4f}, "
        f"mentions_f {scores.fscore:.4f} (of {scores.gold} gold mentions)"
    )


def _predict(
    extractor: MentionExtractor,
    fits: Fit,
    texts: list[AnnotatedText],
    batch_size: int,
    output: TextIO,
) -> MentionScores:
    import json
    from dataclasses import asdict

    from ..core.scoring import MentionScores
    from ..core.windows import cut_windows

    scores = MentionScores()
    remaining = iter(with_progress(texts, len(texts)))
    while batch := list(islice(remaining, batch_size)):
        windows = [cut_windows(text.source, fits) for text in batch]
        mentions = extractor.extract_windows([text.source.text for text in batch], windows)
        for text, found in zip(batch, mentions, strict=True):
            string = text.source.text
            line = {"text": string, "mentions": [asdict(mention) for mention in found]}
            output.write(json.dumps(line, ensure_ascii=False) + "\n")
            labels = set(extractor.labels if text.labels is None else text.labels)
            scores.add(
                {(m.label, string[m.start : m.end]) for m in found if m.label in labels},
                {(m.label, string[m.start : m.end]) for m in text.mentions},
            )
    return scores
