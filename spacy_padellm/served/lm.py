"""A language model behind a server, in the place of one in this process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn, cast

from transformers import PreTrainedTokenizerBase

from ..decode.decoder import Decoder
from ..errors import Errors, Warnings
from ..model import PaDeLLM
from ..settings import PARALLEL, DecodingOptions, Settings
from ..train.objective import Objective
from .client import CompletionClient, Server
from .decoder import ServedDecoder


class ServedLM:
    """A language model behind a server: its tokenizer is here, its weights are there.

    Args:
        name: The folder or hub id that it was loaded from here.
        tokenizer: The tokenizer.
        server: The server.
        concurrency: Most requests at once.
        transport: How requests are sent; `None` for the network.
    """

    def __init__(
        self,
        name: str,
        tokenizer: PreTrainedTokenizerBase,
        server: Server,
        concurrency: int,
        transport: Any = None,
    ) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.server = server
        self.concurrency = concurrency
        self._transport = transport

    @cached_property
    def client(self) -> CompletionClient:
        """The client, made at first use."""
        return CompletionClient(self.server, self._transport)

    @property
    def model(self) -> NoReturn:
        """Raise a `ValueError`, since the weights are elsewhere."""
        raise ValueError(Errors.P095.format(name=self.server.served_name, url=self.server.url))

    @property
    def device(self) -> str:
        """The server's address, as its device is not known here."""
        return self.server.url

    def to(self, device: str) -> ServedLM:
        """Return this model, since the server chooses its device."""
        return self


class ServedPaDeLLM(PaDeLLM):
    """A `PaDeLLM` whose model is behind a server.

    Args:
        lm: The model.
        settings: What it was trained with.
        options: How it decodes.

    Raises:
        ValueError: A server cannot run the model exactly.
    """

    def __init__(
        self,
        lm: Any,
        settings: Settings,
        options: DecodingOptions | None = None,
        replicas: None = None,
    ) -> None:
        super().__init__(lm, settings, options, replicas)
        self._served = cast(ServedLM, lm)
        reason = None
        if settings.prefix_attention != "causal":
            reason = "its texts attend in both directions, but servers run causal models"
        elif settings.softmax != "vocabulary":
            reason = "its probabilities are over admissible ids, a server's over the vocabulary"
        elif settings.output_format != PARALLEL:
            reason = f"its output format is {settings.output_format!r}, not {PARALLEL!r}"
        elif self.options.decode == "tags":
            reason = 'decode = "tags" needs text tags, which servers do not give; "all" needs none'
        if reason is not None:
            raise ValueError(Errors.P096.format(name=self._served.name, reason=reason))
        if settings.reads_tags and self.options.tag_share > 0:
            warnings.warn(Warnings.W090.format(name=self._served.name), stacklevel=3)

    def _make_decoder(self, lms: Sequence[Any]) -> Decoder:
        lm = self._served
        return ServedDecoder(lm.client, self.encoder, concurrency=lm.concurrency)

    def make_objective(self, tag_text: float = 0.0) -> Objective:
        """Raise a `ValueError`, since the weights are elsewhere."""
        return self._served.model
