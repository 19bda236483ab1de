"""`compare`: whether tree, separate sequences and plain decoding find the same mentions."""

from __future__ import annotations

import typer

from .messages import shown_errors
from .options import (
    AttentionOption,
    CheckpointArgument,
    CorpusArgument,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    LimitOption,
    LocalFilesOnlyOption,
    MaxMentionsOption,
    MaxMentionTokensOption,
    QuantizationOption,
    RevisionOption,
    TrustRemoteCodeOption,
)
from .progress import with_progress


def compare(
    checkpoint: CheckpointArgument,
    corpus: CorpusArgument,
    format: FormatOption = "auto",
    limit: LimitOption = None,
    max_mentions: MaxMentionsOption = None,
    max_mention_tokens: MaxMentionTokensOption = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
    device_map: DeviceMapOption = None,
    attn_implementation: AttentionOption = None,
    quantization: QuantizationOption = None,
    revision: RevisionOption = None,
    local_files_only: LocalFilesOnlyOption = False,
    trust_remote_code: TrustRemoteCodeOption = False,
) -> None:
    """Decode a corpus in several ways and print how they agree.

    The token tree with its drafts; separate sequences that walk the same tries a token a pass, run
    whole and as the paper's padded batch; and plain greedy decoding without tries, which may write
    anything.
    """
    with shown_errors():
        from ..benchmark.comparison import compare_decoders
        from ..corpus.formats import read_annotated_texts
        from ..model import PaDeLLM

        texts = [each.source for each in read_annotated_texts(corpus, format=format)[:limit]]
        padellm = PaDeLLM.from_pretrained(
            checkpoint,
            max_mentions=max_mentions,
            max_mention_tokens=max_mention_tokens,
            device=device,
            dtype=dtype,
            device_map=device_map,
            attn_implementation=attn_implementation,
            quantization=quantization,
            revision=revision,
            local_files_only=local_files_only,
            trust_remote_code=trust_remote_code,
        )
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
            "  Plain decoding chooses from the whole vocabulary; this model was taught only to "
            "choose among what may come next."
        )
    for reason, count in result.reasons.most_common():
        typer.echo(f"  {count} differ: the model {reason}")
