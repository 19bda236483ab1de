"""Free text: what a model writes over its whole vocabulary, and what that takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from ..decode.decoder import DecodingCost
from ..decode.state import Choice
from ..tree.runs import TreeRun
from ..tree.token_tree import TokenTree
from .padded import OneByOneRun


@dataclass
class LaboratoryCost(DecodingCost):
    """What decoding took, and what was lost.

    Args:
        malformed: Stretches of the output that could not be read.
        ungrounded: Mentions written that the text does not have, or of no known label.
        simulated_seconds: Time of what the run stands for; `None` where it is not simulated.
        output_format: The output format that was read, if one was.
    """

    malformed: int = 0
    ungrounded: int = 0
    simulated_seconds: float | None = None
    output_format: str | None = None

    @classmethod
    def of(cls, cost: DecodingCost) -> LaboratoryCost:
        """Copy a cost of any decoder; what is written in parallel loses nothing."""
        return replace(cost) if isinstance(cost, cls) else cls(**asdict(cost))

    def add(self, run: TreeRun, kept: int) -> None:
        """Add a finished run.

        Args:
            run: The run.
            kept: Tokens of its trees that were kept.
        """
        super().add(run, kept)
        if isinstance(run, OneByOneRun):
            self.simulated_seconds = (self.simulated_seconds or 0.0) + run.simulated_seconds

    def describe(self) -> str:
        """Say it in a line or two."""
        described = super().describe()
        if self.output_format is None:
            return described
        return (
            f"{described}\n{self.malformed} stretches of the {self.output_format} output "
            f"malformed, {self.ungrounded} mentions ungrounded"
        )


class FreeSequence:
    """A sequence that is being written: whatever the model likes, until it writes an end.

    Args:
        node: The tree's node it begins behind.
        ends: Id sequences that end it.
        max_tokens: Where it is cut off.
        replay: What is written, its end included, whatever the model chooses: that takes what a
            model takes that writes so.

    Attributes:
        node: The tree's node it has come to.
        ids: What was written, the end left out.
        log_probs: The log-probability of what the model chose at each of them.
        is_ended: Whether it came to an end.
    """

    def __init__(
        self,
        node: int,
        ends: Sequence[Sequence[int]],
        max_tokens: int,
        replay: Sequence[int] | None = None,
    ) -> None:
        self.node = node
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.is_ended = False
        self.max_tokens = max_tokens
        self._ends = [list(end) for end in ends]
        self._replay = replay

    @property
    def is_finished(self) -> bool:
        """Whether it ended, or was cut off."""
        return self.is_ended or len(self.ids) >= self.max_tokens

    def advance(self, tree: TokenTree, choices: Mapping[int, Choice]) -> None:
        """Write as far as choices are known.

        Args:
            tree: The tree, which grows where no draft is.
            choices: What was chosen at the nodes run so far.
        """
        while not self.is_finished and (choice := choices.get(self.node)) is not None:
            token_id = choice.token_id if self._replay is None else self._replay[len(self.ids)]
            self.ids.append(token_id)
            self.log_probs.append(choice.log_prob)
            for end in self._ends:
                if self.ids[-len(end) :] == end:
                    del self.ids[-len(end) :], self.log_probs[-len(end) :]
                    self.is_ended = True
                    return
            if not self.is_finished:
                (self.node,) = tree.insert([token_id], self.node)


class FreeText(ABC):
    """A text of which something is being written freely.

    Args:
        prefix: The ids all its sequences begin with.

    Attributes:
        tree: The text's tree; drafts that prove wrong may be cut off.
    """

    def __init__(self, prefix: Sequence[int]) -> None:
        self.tree = TokenTree(prefix)

    @property
    @abstractmethod
    def sequences(self) -> Sequence[FreeSequence]:
        """The sequences that are written, or were."""

    def propose(self) -> list[int]:
        """Propose new nodes at which a choice is needed, or will be if a draft proves right.

        Returns:
            The nodes; none if everything is written.
        """
        return list(dict.fromkeys(each.node for each in self.sequences if not each.is_finished))

    @abstractmethod
    def advance(self, choices: Mapping[int, Choice]) -> None:
        """Write as far as it is known now.

        Args:
            choices: What was chosen at each node proposed.
        """

    def count_kept(self) -> int:
        """Count the tokens of the tree that were kept, each once."""
        return len({node for each in self.sequences for node in self.tree.path(each.node)})


def write_freely(run: TreeRun, texts: Sequence[FreeText], cost: LaboratoryCost) -> None:
    """Run passes until everything is written.

    Args:
        run: The run of the texts' trees.
        texts: The texts.
        cost: Where what it took is added.
    """
    while any(proposed := [text.propose() for text in texts]):
        run.retire(place for place, nodes in enumerate(proposed) if not nodes)
        logits = run.logits(proposed).float()
        best, ids = logits.max(dim=1)
        log_probs = best - logits.logsumexp(dim=1)
        # Together, as each transfer from a device waits for it. A double holds any id.
        pairs = torch.stack([ids.double(), log_probs.double()], dim=1).tolist()
        chosen = iter(Choice(int(token_id), log_prob) for token_id, log_prob in pairs)
        for text, nodes in zip(texts, proposed, strict=True):
            text.advance({node: next(chosen) for node in nodes})
    cost.add(run, sum(text.count_kept() for text in texts))
