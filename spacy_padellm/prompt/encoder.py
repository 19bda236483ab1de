"""Prompt encoder: template and tokenizer together say the ids of every part of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from .case_marks import CaseMarks
from .template import PromptTemplate, check_wording
from .tokenization import Offsets, TextEncoder


class PromptEncoder:
    """The ids of each part of the sequences: one definition for training, tries and decoding.

    template (PromptTemplate): The wording.
    wordings (Mapping[str, str]): Label → its wording in the prompt.
    tokenizer (PreTrainedTokenizerBase): The model's tokenizer.
    """

    def __init__(
        self,
        template: PromptTemplate,
        wordings: Mapping[str, str],
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        for label, wording in wordings.items():
            check_wording(label, wording)
        self.template = template
        self.wordings = dict(wordings)
        self._text = TextEncoder(tokenizer)
        self._text.reserve(
            [
                template.before_text,
                template.before_label,
                template.before_count,
                template.count_end,
                template.opener(1),
                template.capitalized,
                template.all_capitals,
                *self.wordings.values(),
            ]
        )
        encode = self._text.encode_wording
        self._case_marks = CaseMarks(
            tuple(encode(template.capitalized)), tuple(encode(template.all_capitals))
        )
        self.end_id = self._text.end_id
        self.count_end = encode(template.count_end)
        # Where all mentions are written in one sequence, the paper's baselines, nothing is asked.
        self.output_opener = self.count_end
        self._before_text = self._text.bos_ids + encode(template.before_text, first=True)
        before_label, before_count = encode(template.before_label), encode(template.before_count)
        self._wordings = {label: encode(wording) for label, wording in self.wordings.items()}
        self._branches = {
            label: before_label + ids + before_count for label, ids in self._wordings.items()
        }
        self._openers: dict[int, list[int]] = {}
        self._counts: dict[int, list[int]] = {}

    def prefix(self, text: str) -> list[int]:
        """text (str): The text.
        RETURNS (List[int]): What all sequences of a text begin with: begin-of-sequence token
            (where the tokenizer has one of its own), wording, text.
        """
        return self._before_text + self.text([text])[0]

    def text(self, texts: Sequence[str]) -> list[list[int]]:
        """texts (Sequence[str]): Texts.
        RETURNS (List[List[int]]): The ids of each where it stands in the prefix.
        """
        if not self._case_marks:
            return self._text.encode(texts)
        return self._case_marks.encode(texts, self._text)

    @property
    def has_offsets(self) -> bool:
        """RETURNS (bool): Whether the tokenizer says where in a text its ids are."""
        return self._text.has_offsets

    def text_offsets(self, text: str) -> list[Offsets]:
        """text (str): A text.
        RETURNS (List[Offsets]): For each of its ids in the prefix where in the text it starts and
            ends. Needs `has_offsets`.
        """
        if not self._case_marks:
            return self._text.encode_with_offsets(text)[1]
        return self._case_marks.encode_with_offsets(text, self._text)[1]

    def wording(self, label: str) -> list[int]:
        """label (str): A label.
        RETURNS (List[int]): The ids of its wording.
        """
        return self._wordings[label]

    def branch(self, label: str) -> list[int]:
        """label (str): A label.
        RETURNS (List[int]): From the end of the text to where the count is written.
        """
        return self._branches[label]

    def count(self, count: int) -> list[int]:
        """count (int): A number of mentions.
        RETURNS (List[int]): The number and what ends it: the end token after 0.
        """
        if count not in self._counts:
            end = self.count_end if count else [self.end_id]
            self._counts[count] = self._text.encode_wording(str(count)) + end
        return self._counts[count]

    def opener(self, n: int) -> list[int]:
        """n (int): A mention's number, from 1.
        RETURNS (List[int]): What opens it.
        """
        if n not in self._openers:
            self._openers[n] = self._text.encode_wording(self.template.opener(n))
        return self._openers[n]

    def output(self, string: str) -> list[int]:
        """string (str): All mentions of a text, in an output format.
        RETURNS (List[int]): The ids with the end token.
        """
        return [*self._text.encode([string])[0], self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """ids (Sequence[int]): Ids a model wrote.
        RETURNS (str): The string they stand for, behind the wording before them.
        """
        return self._text.decode(ids)

    def mentions(self, strings: Sequence[str]) -> list[list[int] | None]:
        """strings (Sequence[str]): Mentions as they stand in the text.
        RETURNS (List[Optional[List[int]]]): The ids of each with the end token, `None` for one
            that has no ids.
        """
        encoded = self._text.encode(strings)
        for ids in filter(None, encoded):
            ids.append(self.end_id)
        return [ids or None for ids in encoded]
