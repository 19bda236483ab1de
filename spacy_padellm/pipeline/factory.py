"""The `padellm_ner` factory: its configuration and default values."""

# No `annotations` import, since spaCy reads the types of the factory's signature at run time.
from collections.abc import Callable
from typing import Any, cast

from spacy.language import Language
from spacy.util import registry
from thinc.api import Config, Model

from ..errors import Errors
from ..prompt.template import PRESETS, Preset, find_preset
from ..settings import (
    SPANS_KEY,
    Decode,
    DecodingOptions,
    Deduplicate,
    Drafts,
    Occurrences,
    Overrides,
    TagActivation,
)

DEFAULT_CONFIG = f"""
[padellm_ner]
preset = null
template = null
output_format = null
labels = null
get_spans = null
threshold = 0.0
max_mentions = null
max_mention_tokens = null
deduplicate = "string"
occurrences = "in_order"
tag_share = {DecodingOptions.tag_share}
tag_activation = null
decode = "{DecodingOptions.decode}"
spans_key = "{SPANS_KEY}"
overwrite = false
draft_threshold = "{DecodingOptions.draft_threshold}"
open_counts = []
batch_tokens = {DecodingOptions.batch_tokens}
augment = null

[padellm_ner.model]
@architectures = "spacy_padellm.CausalLM.v1"

[padellm_ner.scorer]
@scorers = "spacy_padellm.mention_scorer.v1"
"""


@Language.factory(
    "padellm_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=Config().from_str(DEFAULT_CONFIG)["padellm_ner"],
    default_score_weights={
        "ents_f": 0.5,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        "mentions_f": 0.5,
        "mentions_p": 0.0,
        "mentions_r": 0.0,
    },
)
def make_padellm_ner(
    nlp: Language,
    name: str,
    model: Model[Any, Any],
    preset: Any,
    template: Any,
    output_format: str | None,
    labels: Any,
    get_spans: Callable[..., Any] | None,
    threshold: float | dict[str, float],
    max_mentions: int | None,
    max_mention_tokens: int | None,
    deduplicate: str,
    occurrences: str,
    tag_share: float,
    tag_activation: str | None,
    decode: str,
    spans_key: str | None,
    overwrite: bool,
    draft_threshold: float | Drafts,
    open_counts: list[int],
    batch_tokens: int,
    augment: Callable[..., Any] | None,
    scorer: Callable[..., Any] | None,
) -> Any:
    """Create a `padellm_ner` component, which finds named entities with a causal language model.

    The model writes how many mentions each label has, and then all mentions of all labels at once.

    Args:
        nlp: The pipeline.
        name: The component's name.
        model: `spacy_padellm.CausalLM.v1`, `spacy_padellm.EncoderLM.v1` or
            `spacy_padellm.SmallCausalLM.v1`.
        preset: Name of a dataset. Its template, labels and checkpoint are used unless others are
            set. One of the paper's: `"conll03"`, `"genia"`, `"ace05"`, `"weibo"`, `"msra"`,
            `"ontonotes"`, `"resume"`, `"youku"`, `"ecommerce"`; or the name of a function in
            spaCy's registry `misc` that returns a `Preset`. `null` for none.
        template: The prompt's wording: `"en"`, `"zh"`, or your own in a
            `spacy_padellm.PromptTemplate.v1`. `null` for the preset's or the checkpoint's, or
            `"en"`.
        output_format: How mentions are written. `"parallel"`: each in its own sequence.
            `"augmented"`, `"structured"`: all in one sequence, as in the paper's autoregressive
            baselines. Both need the softmax `"vocabulary"`. `null` for the checkpoint's, or
            `"parallel"`.
        labels: A list of labels, or labels with their wording in the prompt. An empty list starts
            without labels. `null` for the preset's or the checkpoint's. `nlp.initialize()` adds the
            labels of the training data, unless it is given a labels file.
        get_spans: A span getter that splits docs into windows, such as those of spacy-transformers.
            `null` to read each doc as a whole, or in overlapping windows if it is too long for the
            model.
        threshold: Lowest score of an entity that is kept: a number, or labels with a number for
            each. Labels that are not named keep all. `padellm calibrate` suggests some.
        max_mentions: Most mentions of a label in a text or window. Only for `"parallel"`. `null`
            for the checkpoint's, or 30.
        max_mention_tokens: Longest mention, in spaCy tokens. With other formats than `"parallel"`
            it only limits what is taught. `null` for the checkpoint's, or 16.
        deduplicate: `"string"`: a string found under several labels stays under the most probable
            one, as in the paper. `"span"`: the same for each place in the text.
        occurrences: `"in_order"`: the k-th mention of a string is at its k-th place in the text.
            `"all"`: a mention marks all places of its string.
        tag_share: Weight of the text tags in a mention's probability, from 0 to 1. Only for models
            trained with `tag_text`. With tags, a mention is kept only if its probability is above
            one half. A share above one half also finds mentions that only the tags name. Use 0 if
            mentions nest: with tags, mentions inside others are lost.
        tag_activation: `"softmax"`: the text tags name one of the labels asked, or none.
            `"sigmoid"`: each label is held against none alone, so that its tags do not depend on
            which other labels are asked. `null`: as the model was trained.
        decode: For which labels the model writes mentions, if it was trained with `tag_text`.
            `"doubtful"`: for those that the tags leave in doubt. `"all"`: for all labels; this
            takes longer and finds nearly the same mentions. `"tags"`: for none; this is the fastest
            and finds a little less.
        spans_key: The span group that predicted mentions are written to and gold mentions are read
            from. `null` to write and read only `doc.ents`, for pipelines that merge or split
            tokens afterwards: spaCy leaves span groups as they were.
        overwrite: Whether predicted entities replace those already in `doc.ents` that overlap them.
            If not, they are left out of `doc.ents`.
        draft_threshold: Lowest probability of a token that is drafted, so that one pass checks
            several tokens. A lower value takes fewer passes and more tokens; 1 drafts only what is
            certain. `"auto"` chooses it from what a pass and a token take on the device. The
            mentions found are the same. Only for `"parallel"`.
        open_counts: Likely numbers of mentions, for example `[1]`. For every label, that many
            mentions are opened while the model still counts them. This saves a pass where the
            number is right, and takes more tokens everywhere. It is for GPUs, where passes cost
            more than tokens. Only for `"parallel"`.
        batch_tokens: Most tokens that are run at once, padding included. Increase it for a GPU.
        augment: Augmentation of training texts: `spacy_padellm.swap_mentions.v1`; `null` for none.
        scorer: The scoring method.

    Raises:
        ValueError: A setting has a value that is not possible.
    """
    from .component import PaDeLLMNER

    stated = Overrides.state(
        preset=_find_preset(preset),
        template=template,
        output_format=output_format,
        labels=labels,
        max_mentions=max_mentions,
        max_mention_tokens=max_mention_tokens,
    )
    # The casts only satisfy the type checker: the classes that take the values check them.
    options = DecodingOptions(
        threshold=threshold,
        deduplicate=cast(Deduplicate, deduplicate),
        occurrences=cast(Occurrences, occurrences),
        tag_share=tag_share,
        tag_activation=cast(TagActivation | None, tag_activation),
        decode=cast(Decode, decode),
        draft_threshold=draft_threshold,
        open_counts=tuple(open_counts),
        batch_tokens=batch_tokens,
    )
    return PaDeLLMNER(
        nlp.vocab,
        model,
        name,
        stated=stated,
        options=options,
        get_spans=get_spans,
        spans_key=spans_key,
        overwrite=overwrite,
        augment=cast(Any, augment),
        scorer=scorer,
    )


def _find_preset(preset: Any) -> Preset | None:
    """Return the preset that a config states as a dataset, a function in `misc` or a preset."""
    if preset is None or isinstance(preset, Preset):
        return preset
    found = find_preset(preset)
    if found is None and preset in registry.misc:
        found = registry.misc.get(preset)()
    if not isinstance(found, Preset):
        raise ValueError(Errors.P210.format(name=preset, names=", ".join(PRESETS)))
    return found
