"""`compare`: check whether tree, separate sequences and plain decoding agree."""

from __future__ import annotations

import typer

from .console import (
    CheckpointArgument,
    CorpusArgument,
    FormatOption,
    LimitOption,
    ModelOptions,
    shown_errors,
    with_options,
    with_progress,
)


@with_options
def compare(
    checkpoint: CheckpointArgument,
    corpus: CorpusArgument,
    format: FormatOption = "auto",
    limit: LimitOption = None,
    *,
    model: ModelOptions,
) -> None:
    """Decode a corpus in several ways and print how often they agree.

    The ways are: the token tree with drafts; separate sequences on the same tries, one token a
    pass, run whole and as the paper's padded batch; and plain greedy decoding, which may write
    anything.
    """
    with shown_errors():
        from ..benchmark.comparison import compare_decoders
        from ..corpus.formats import read_annotated_texts
        from ..corpus.options import ReadingOptions
        from ..model import PaDeLLM

        annotated = read_annotated_texts(corpus, options=ReadingOptions(format=format))
        texts = [each.source for each in annotated[:limit]]
        padellm = PaDeLLM.from_pretrained(checkpoint, **vars(model))
        result = compare_decoders(padellm, with_progress(texts, len(texts)))
    way, softmax = padellm.lm.support.way, padellm.settings.softmax
    typer.echo(f"Trees are run as: {way}; softmax over: {softmax}")
    names = {"sequences": "separate sequences", "batch": "padded batches with a KV cache"}
    for walk, agreement in result.walks.items():
        typer.echo(
            f"Same mentions from the tree and from {names[walk]} on the same tries: "
            f"{agreement.same} of {result.texts} texts; largest difference of a mention's "
            f"log-probability: {agreement.largest_difference:.1e}"
        )
    typer.echo(f"Same mentions from plain decoding: {result.same_as_plain} of {result.texts} texts")
    if softmax == "admissible" and result.same_as_plain < result.texts:
        typer.echo(
            "  Plain decoding chooses from the whole vocabulary. This model learned to choose only "
            "among the admissible tokens."
        )
    for reason, count in result.reasons.most_common():
        typer.echo(f"  {count} differ: the model {reason}")
