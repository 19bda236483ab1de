"""`spacy_padellm.PromptTemplate.v1`: a user's own wording in a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..prompt.template import PromptTemplate


def create_prompt_template_v1(
    prompt: str,
    count_end: str = "\n",
    mention: str = "<mention {n}>",
    capitalized: str = "",
    all_capitals: str = "",
) -> PromptTemplate:
    """prompt (str): Everything up to the count, with `{text}` and then `{label}` in it.
    count_end (str): What follows a count of one or more.
    mention (str): What opens mention number `{n}`.
    capitalized (str): What is put before each capitalised word of the text, for a tokenizer that
        lower-cases; nothing if empty.
    all_capitals (str): What is put before each word in capitals; `capitalized` if empty.
    RETURNS (PromptTemplate): The template.
    RAISES (ValueError): A placeholder is missing or out of order.
    """
    from ..prompt.template import PromptTemplate

    return PromptTemplate(prompt, count_end, mention, capitalized, all_capitals)
