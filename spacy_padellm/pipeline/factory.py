"""The `padellm_ner` factory: its configuration and default values."""

# No `annotations` import: spaCy reads the types of the factory's signature at run time.
from collections.abc import Callable
from typing import Any

from spacy.language import Language
from thinc.api import Config, Model

from ..defaults import BATCH_TOKENS, DRAFT_THRESHOLD, SPANS_KEY, TAG_SHARE

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
tag_share = {TAG_SHARE}
spans_key = "{SPANS_KEY}"
overwrite = false
draft_threshold = {DRAFT_THRESHOLD}
open_counts = []
batch_tokens = {BATCH_TOKENS}
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
    model: Model,
    preset: Any,
    template: Any,
    output_format: str | None,
    labels: Any,
    get_spans: Callable | None,
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
    augment: Callable | None,
    scorer: Callable | None,
) -> Any:
    """Construct a PaDeLLM-NER component: a causal language model that writes how many mentions
    every label has, and then all mentions of all labels at once.

    nlp (Language): The pipeline.
    name (str): The component's name.
    model (Model): `spacy_padellm.CausalLM.v1`, `spacy_padellm.EncoderLM.v1` or
        `spacy_padellm.SmallCausalLM.v1`.
    preset (Optional[Union[str, Preset]]): Name of a dataset whose template, labels and checkpoint
        are taken where none are given: `"conll03"`, `"genia"`, `"ace05"`, `"weibo"`, `"msra"`,
        `"ontonotes"`, `"resume"`, `"youku"`, `"ecommerce"` (the paper's), or a function of spaCy's
        registry `misc` that returns a `Preset`.
    template (Optional[Union[str, PromptTemplate]]): The prompt's wording: `"en"`, `"zh"`, or
        your own through `spacy_padellm.PromptTemplate.v1`. `None` for the checkpoint's, or `"en"`.
    output_format (Optional[str]): How mentions are written. `"parallel"`: each in a sequence of its
        own. `"augmented"`, `"structured"`: all in one, the paper's autoregressive baselines, with a
        model whose softmax is `"vocabulary"`. `None` for the checkpoint's, or `"parallel"`.
    labels (Optional[Union[List[str], Dict[str, str]]]): The labels, or labels and their wording
        in the prompt. `None` for the checkpoint's. `nlp.initialize()` adds those of the training
        data, unless it is given a labels file.
    get_spans (Optional[Callable]): A span getter, such as those of spacy-transformers, to read docs
        in windows. `None` to read every doc as a whole, and in overlapping windows where the model
        has no positions for it.
    threshold (float): Lowest probability a mention is kept with.
    max_mentions (Optional[int]): Most mentions of a label in a text; of `"parallel"` only. `None`
        for the checkpoint's, or 30.
    max_mention_tokens (Optional[int]): Longest mention, in spaCy tokens; of other formats than
        `"parallel"` the longest that is taught. `None` for the checkpoint's, or 16.
    deduplicate (str): `"string"`: a string found under several labels stays under the most
        probable one. `"span"`: the same for each place in the text on its own.
    occurrences (str): `"in_order"`: the k-th mention of a string is its k-th place in the text.
        `"all"`: a mention marks all places of its string.
    tag_share (float): What text tags count in a mention's probability, from 0 to 1, with a model
        that was trained with `tag_text` and softmax `"admissible"`: the label that each token is
        seen in, read on the way. A mention then has to be more probable than not, and one that
        only they name is found, too, if they are sure enough. Mentions in others are lost where
        labels nest: 0 for such.
    spans_key (str): The span group predicted mentions go to and gold ones are read from.
    overwrite (bool): Whether entities already in `doc.ents` make way.
    draft_threshold (float): Lowest probability of a token that is drafted, so that one pass checks
        several. Lower: fewer passes, more tokens; 1 drafts what is certain. The mentions are the
        same. Of `"parallel"` only.
    open_counts (List[int]): Numbers of mentions that are thought so likely that all labels'
        mentions are opened while they are counted, for example `[1]`: one pass less where they are
        right, more tokens everywhere. For GPUs, where passes cost more than tokens. Likewise.
    batch_tokens (int): Most tokens run at once, padding included; more for a GPU.
    augment (Optional[Callable]): Makes more training texts of those there are:
        `spacy_padellm.swap_mentions.v1`.
    scorer (Optional[Callable]): The scoring method.
    """
    from ..decode.drafts import DraftPolicy
    from ..decode.mentions import Resolution
    from .component import PaDeLLMNER

    return PaDeLLMNER(
        nlp.vocab,
        model,
        name,
        preset=preset,
        template=template,
        output_format=output_format,
        labels=labels,
        get_spans=get_spans,
        max_mentions=max_mentions,
        max_mention_tokens=max_mention_tokens,
        resolution=Resolution(threshold, deduplicate, occurrences, tag_share),  # type: ignore[arg-type]
        spans_key=spans_key,
        overwrite=overwrite,
        policy=DraftPolicy(draft_threshold, tuple(open_counts)),
        batch_tokens=batch_tokens,
        augment=augment,  # type: ignore[arg-type]
        scorer=scorer,
    )
