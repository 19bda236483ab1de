"""Reads the text tags of texts: what the model says at their own tokens, at its middle layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..prompt.encoder import EncodedText, PromptEncoder
from ..settings import DecodingOptions, Settings
from ..tree.causal_lm import CausalLM
from ..tree.choices import TagChoices, check_numbers
from ..tree.readout import FIRST_VECTOR, Readout
from ..tree.run import TreeRun
from .tags import TextTags


class TagReader:
    """A reader of text tags.

    Args:
        lm: The language model.
        encoder: The prompt encoder.
        settings: What the model was trained with.
        options: How labels are held against each other.
    """

    def __init__(
        self, lm: CausalLM, encoder: PromptEncoder, settings: Settings, options: DecodingOptions
    ) -> None:
        self._lm = lm
        self._encoder = encoder
        self._settings = settings
        self._longest = settings.max_mention_tokens
        activation = options.tag_activation or settings.tag_activation
        self._are_alone = activation == "sigmoid"

    def read(self, run: TreeRun, texts: Sequence[EncodedText]) -> list[TextTags]:
        """Run the texts alone, and read the tags of their tokens at the middle layer."""
        lengths = [text.length for text in texts]
        ends = [len(text.prefix) for text in texts]
        nodes = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        # Texts that are asked for the same labels have the same encoder.
        items_of: dict[PromptEncoder, list[int]] = {}
        for item, text in enumerate(texts):
            items_of.setdefault(text.encoder, []).append(item)
        spelled, vectors = self._spell_labels(list(items_of))
        choices_of = dict(zip(items_of, spelled, strict=True))
        # Numbers do not depend on labels.
        begins = self._encoder.begin_choices
        kinds = [*choices_of.values(), begins]
        needed = torch.cat([choices.needed for choices in kinds]).unique()
        middle = torch.ones(sum(lengths), dtype=torch.bool)
        logits = run.logits(nodes, Readout(needed, middle, vectors)).split(lengths)
        tags: dict[int, TextTags] = {}
        for encoder, items in items_of.items():
            own = torch.cat([logits[item] for item in items])
            if self._are_alone:
                odds = choices_of[encoder].against_none(own, needed)
                # The last column is that of no label.
                inside = torch.cat([odds, torch.zeros_like(odds[:, :1])], dim=1).sigmoid()
            else:
                inside = choices_of[encoder].log_probs(own, needed).exp()
            begun = 1 - begins.log_probs(own, needed)[:, -1:].exp()
            # Together, as each transfer from a device waits for it.
            probs = torch.cat([inside, begun], dim=1).cpu()
            check_numbers(probs)
            of_texts = probs.split([lengths[item] for item in items])
            biases = self._find_biases(encoder)
            for item, each in zip(items, of_texts, strict=True):
                text, table = texts[item], each.numpy()
                assert text.offsets is not None  # Otherwise tags would not be read.
                names, columns = list(encoder.labels), (table[:, :-1], table[:, -1])
                tags[item] = TextTags(text, names, text.offsets, *columns, self._longest, biases)
        return [tags[item] for item in range(len(texts))]

    def _find_biases(self, encoder: PromptEncoder) -> list[float]:
        """Find what is added to the log-odds of mentions of each label."""
        settings, spelled = self._settings, encoder.wordings.values()
        # A wording in other letters is the same to a tokenizer without case.
        usual = [not self._usual or tuple(ids) in self._usual for ids in spelled]
        return [settings.tag_bias if each else settings.other_tag_bias for each in usual]

    @cached_property
    def _usual(self) -> set[tuple[int, ...]]:
        """The ids of the wordings that the model's usual bias is for; empty for all."""
        return {tuple(self._encoder.encode_wording(each)) for each in self._settings.usual}

    def _spell_labels(
        self, encoders: Sequence[PromptEncoder]
    ) -> tuple[list[TagChoices], Tensor | None]:
        """Find the labels that text tags name, and the vectors of these labels, if they have any.

        Args:
            encoders: The encoders of texts, each with its labels.

        Returns:
            The choices of each encoder, and the vectors of all labels.
        """
        if not self._settings.label_vectors:
            return [each.label_choices(list(each.wordings.values())) for each in encoders], None
        wordings = dict.fromkeys(ids for each in encoders for ids in each.label_texts.values())
        id_of = {ids: FIRST_VECTOR + place for place, ids in enumerate(wordings)}
        choices = [
            each.label_choices([[id_of[ids]] for ids in each.label_texts.values()])
            for each in encoders
        ]
        return choices, self._lm.encode_labels(list(wordings))
