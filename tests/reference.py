"""The paper's way, written out: one sequence at a time, no tree, no trie, no cache.

Nothing here uses the prompt encoder: a trained tokenizer has one token for each piece of the
template, so a whole sequence, as the template writes it, has the right ids when the tokenizer is
simply called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.prompt.template import PromptTemplate
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.tiny_models import plain_logits, prefix_lm_logits

END = "</s>"


@dataclass
class Paper:
    """A model with its template, run on one sequence at a time.

    evaluated: The sequences run so far, as a decoder that asks no more than it needs would.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate
    wordings: Mapping[str, str]
    softmax: str = "vocabulary"
    bidirectional: bool = False
    max_mentions: int = 4
    max_mention_tokens: int = 4
    evaluated: set[tuple[int, ...]] = field(default_factory=set)

    @classmethod
    def of(cls, lm: CausalLM, *args, **kwargs) -> Paper:
        return cls(lm.model, lm.tokenizer, *args, bidirectional=lm.bidirectional_prefix, **kwargs)

    @property
    def bos(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        return [] if bos is None else [bos]

    def ids(self, string: str) -> list[int]:
        ids: list[int] = self.tokenizer(string, add_special_tokens=False).input_ids
        return ids

    def logits(self, ids: Sequence[int], text: str) -> Tensor:
        if not self.bidirectional:
            return plain_logits(self.model, ids)
        prefix = len(self.bos) + len(self.ids(self.template.before_text + text))
        return prefix_lm_logits(self.model, ids, prefix)

    def spans(self, source: TokenizedText) -> dict[tuple[int, ...], list[tuple[int, int]]]:
        found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for i, (start, _) in enumerate(source.tokens):
            for _, end in source.tokens[i : i + self.max_mention_tokens]:
                string = source.text[start:end]
                if string == string.strip():
                    found.setdefault(tuple(self.ids(string + END)), []).append((start, end))
        return found

    def counts(self) -> dict[tuple[int, ...], int]:
        end = self.template.count_end
        numbers = range(self.max_mentions + 1)
        return {tuple(self.ids(f"{n}{end}" if n else f"0{END}")): n for n in numbers}

    # Decoding

    @torch.no_grad()
    def decode(self, source: TokenizedText, labels: Sequence[str]) -> list[DecodedMention]:
        counts, spans = self.counts(), self.spans(source)
        found = []
        for label in labels if spans else ():
            prompt = self.template.prompt.replace("{text}", source.text)
            prompt = prompt.replace("{label}", self.wordings[label])
            start = [*self.bos, *self.ids(prompt)]
            written, _ = self._write(start, counts, source.text, scored=False)
            for n in range(1, counts[written] + 1):
                opened = [*start, *written, *self.ids(self.template.opener(n))]
                mention, log_prob = self._write(opened, spans, source.text, scored=True)
                found.append(DecodedMention(label, tuple(spans[mention]), log_prob))
        return found

    def _write(
        self, start: list[int], allowed: Mapping[tuple[int, ...], object], text: str, scored: bool
    ) -> tuple[tuple[int, ...], float]:
        written: tuple[int, ...] = ()
        log_prob = 0.0
        while written not in allowed:
            place = len(written)
            matching = [a for a in allowed if a[:place] == written]
            follow = sorted({a[place] for a in matching})
            logits = self.logits([*start, *written], text)[-1]
            best = max(follow, key=lambda i: logits[i].item())
            if len(follow) > 1 or (scored and (*written, best) not in allowed):
                self.evaluated.add((*start, *written))
            total = logits if self.softmax == "vocabulary" else logits[follow]
            written = (*written, best)
            if written not in allowed:  # else it is the end token
                log_prob += (logits[best] - total.logsumexp(0)).item()
        return written, log_prob

    # Training

    def log_probs(self, source: TokenizedText, gold: Mapping[str, Sequence[str]]) -> list[Tensor]:
        """For each of the paper's sequences, the log-probabilities of what it teaches."""
        counts = self.counts()
        spans = self.spans(source)
        found = []
        for label, mentions in gold.items():
            whole = self.template.render(source.text, self.wordings[label], mentions, END)
            prompt = self.template.prompt.replace("{text}", source.text)
            prompt = prompt.replace("{label}", self.wordings[label])
            number = f"{len(mentions)}{self.template.count_end}" if mentions else f"0{END}"
            for n, sequence in enumerate(whole, start=1):
                parts = [(prompt, None), (number, counts)]
                if mentions:
                    parts.append((self.template.opener(n), None))
                    parts.append((mentions[n - 1] + END, spans))
                assert sequence == "".join(part for part, _ in parts)
                found.append(self._taught(parts, source.text))
        return found

    def _taught(
        self, parts: list[tuple[str, Mapping[tuple[int, ...], object] | None]], text: str
    ) -> Tensor:
        ids = [*self.bos, *self.ids("".join(part for part, _ in parts))]
        log_probs = []
        logits = self.logits(ids, text)
        place = len(self.bos)
        for part, allowed in parts:
            taught = tuple(self.ids(part))
            assert tuple(ids[place : place + len(taught)]) == taught
            for i, token_id in enumerate(taught):
                before = logits[place + i - 1]
                if allowed is None:
                    continue
                follow = sorted({a[i] for a in allowed if a[:i] == taught[:i]})
                total = before if self.softmax == "vocabulary" else before[follow]
                log_probs.append(before[token_id] - total.logsumexp(0))
            place += len(taught)
        return torch.stack(log_probs)
