"""The `padellm_ner` factory: its configuration and default values."""

# No `annotations` import: spaCy reads the types of the factory's signature at run time.
from collections.abc import Callable
from typing import Any, cast

from spacy.language import Language
from spacy.util import registry
from thinc.api import Config, Model

from ..errors import Errors
from ..prompt.template import PRESETS, Preset, find_preset
from ..settings import SPANS_KEY, DecodingOptions, Deduplicate, Occurrences, Overrides

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
spans_key = "{SPANS_KEY}"
overwrite = false
draft_threshold = {DecodingOptions.draft_threshold}
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
    threshold: float,
    max_mentions: int | None,
    max_mention_tokens: int | None,
    deduplicate: str,
    occurrences: str,
    tag_share: float,
    spans_key: str,
    overwrite: bool,
    draft_threshold: float,
    open_counts: list[int],
    batch_tokens: int,
    augment: Callable[..., Any] | None,
    scorer: Callable[..., Any] | None,
) -> Any:
    """Create a PaDeLLM-NER component. Its causal language model writes how many mentions each label
    has, and then all mentions of all labels at once.

    Args:
        nlp: The pipeline.
        name: The component's name.
        model: `spacy_padellm.CausalLM.v1`, `spacy_padellm.EncoderLM.v1` or
            `spacy_padellm.SmallCausalLM.v1`.
        preset: Name of a dataset whose template, labels and checkpoint are taken where none are
            given: `"conll03"`, `"genia"`, `"ace05"`, `"weibo"`, `"msra"`, `"ontonotes"`,
            `"resume"`, `"youku"`, `"ecommerce"` (the paper's), or a function of spaCy's registry
            `misc` that returns a `Preset`.
        template: The prompt's wording: `"en"`, `"zh"`, or your own through
            `spacy_padellm.PromptTemplate.v1`. `None` for the checkpoint's, or `"en"`.
        output_format: How mentions are written. `"parallel"`: each in a sequence of its own.
            `"augmented"`, `"structured"`: all in one, the paper's autoregressive baselines, with a
            model whose softmax is `"vocabulary"`. `None` for the checkpoint's, or `"parallel"`.
        labels: The labels, or labels and their wording in the prompt. `None` for the checkpoint's.
            `nlp.initialize()` adds those of the training data, unless it is given a labels file.
        get_spans: A span getter, such as those of spacy-transformers, to read docs in windows.
            `None` to read every doc as a whole, and in overlapping windows where the model has no
            positions for it.
        threshold: Lowest probability a mention is kept with.
        max_mentions: Most mentions of a label in a text; of `"parallel"` only. `None` for the
            checkpoint's, or 30.
        max_mention_tokens: Longest mention, in spaCy tokens; of other formats than `"parallel"` the
            longest that is taught. `None` for the checkpoint's, or 16.
        deduplicate: `"string"`: a string found under several labels stays under the most probable
            one. `"span"`: the same for each place in the text on its own.
        occurrences: `"in_order"`: the k-th mention of a string is its k-th place in the text.
            `"all"`: a mention marks all places of its string.
        tag_share: What text tags count in a mention's probability, from 0 to 1, with a model that
            was trained with `tag_text` and softmax `"admissible"`: the label that each token is
            seen in, read on the way. A mention then has to be more probable than not, and one that
            only they name is found, too, if they are sure enough. Mentions in others are lost where
            labels nest: 0 for such.
        spans_key: The span group predicted mentions go to and gold ones are read from.
        overwrite: Whether entities already in `doc.ents` make way.
        draft_threshold: Lowest probability of a token that is drafted, so that one pass checks
            several. Lower: fewer passes, more tokens; 1 drafts what is certain. The mentions are
            the same. Of `"parallel"` only.
        open_counts: Numbers of mentions that are thought so likely that all labels' mentions are
            opened while they are counted, for example `[1]`: one pass less where they are right,
            more tokens everywhere. For GPUs, where passes cost more than tokens. Likewise.
        batch_tokens: Most tokens run at once, padding included; more for a GPU.
        augment: Makes more training texts of those there are: `spacy_padellm.swap_mentions.v1`.
        scorer: The scoring method.
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
    # What is only said to be of a type, is checked by those who take it.
    options = DecodingOptions(
        threshold=threshold,
        deduplicate=cast(Deduplicate, deduplicate),
        occurrences=cast(Occurrences, occurrences),
        tag_share=tag_share,
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
    """Find the preset that a config names: a dataset of the paper, a function in spaCy's registry
    `misc` that returns a preset, or a preset itself.
    """
    if preset is None or isinstance(preset, Preset):
        return preset
    found = find_preset(preset)
    if found is None and preset in registry.misc:
        found = registry.misc.get(preset)()
    if not isinstance(found, Preset):
        raise ValueError(Errors.P210.format(name=preset, names=", ".join(PRESETS)))
    return found
