"""A fine-tuning from its configuration to the checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import EarlyStoppingCallback, TrainerCallback

from ..checkpoints.conversion import find_conversion
from ..checkpoints.files import CheckpointFiles, find_folder
from ..checkpoints.loading import check_trainable, load_causal_lm
from ..checkpoints.settings import CheckpointSettings
from ..decode.windows import Fit
from ..errors import Errors, Warnings
from ..optional import require
from ..prompt.encoder import PromptEncoder
from ..texts import AnnotatedText
from ..tree.causal_lm import CausalLM
from .arguments import make_arguments
from .begun import begun_with
from .config import FinetuneConfig, on_device
from .evaluation import DevEvaluation
from .factory import make_objective
from .lora import add_lora, check_lora
from .objective import Objective
from .preparation import GoldReport, TaughtText, prepare_texts
from .rows import RowDataset, RowFigures, measure_rows, pack_rows
from .saving import find_last_step, save_result
from .settings import find_settings
from .trainer import TreeTrainer
from .versions import Versions


@dataclass(frozen=True)
class Finetuning:
    """All that a training is made of.

    config (FinetuneConfig): What is stated.
    arguments (TrainingArguments): Trainer's arguments.
    settings (CheckpointSettings): What the model is trained with.
    lm (CausalLM): The model.
    rows (RowDataset): The training texts.
    figures (RowFigures): How full rows are.
    dev (Optional[DevEvaluation]): What is evaluated on.
    sequences (bool): Whether it is trained on separate sequences in the place of trees.
    """

    config: FinetuneConfig
    arguments: TrainingArguments
    settings: CheckpointSettings
    lm: CausalLM
    rows: RowDataset
    figures: RowFigures
    dev: DevEvaluation | None
    sequences: bool = False

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether this is the first of the processes, which reports and writes."""
        return self.arguments.process_index == 0

    @property
    def last_step(self) -> Path | None:
        """RETURNS (Optional[Path]): The last of Trainer's checkpoints that there are."""
        return find_last_step(self.config.steps)

    def train(
        self, *, resume: bool = False, callbacks: Sequence[TrainerCallback] = ()
    ) -> dict[str, Any]:
        """Train, and write the checkpoint.

        resume (bool): Whether to go on from the last of Trainer's checkpoints.
        callbacks (Sequence[TrainerCallback]): What else is to happen in training.
        RETURNS (Dict[str, Any]): Trainer's figures.
        RAISES (ValueError): There are such checkpoints, and they are not to be gone on from, or
            are of another configuration.
        """
        last = self.last_step
        if last is not None and not resume:
            raise ValueError(Errors.P077.format(path=self.config.steps))
        begun_with(self.config, self.settings, go_on=last is not None, write=self.is_first)
        trainer = self.make_trainer(callbacks)
        figures = trainer.train(resume_from_checkpoint=None if last is None else str(last))
        save_result(
            trainer,
            self.config.folder,
            self.settings,
            self.config.load,
            merge=self.config.merges,
        )
        return {**_scores_of_result(trainer), **figures.metrics}

    def make_trainer(self, callbacks: Sequence[TrainerCallback] = ()) -> TreeTrainer:
        """callbacks (Sequence[TrainerCallback]): What is to happen in training.
        RETURNS (TreeTrainer): What trains.
        """
        model: Any = self.lm.model
        if self.config.lora is not None:
            # The same adapter in every process.
            set_seed(self.arguments.seed)
            model = add_lora(
                model,
                self.config.lora,
                self.config.checkpoint,
                self.config.load,
                gradient_checkpointing=self.arguments.gradient_checkpointing,
            )
        stopping = []
        if self.config.patience is not None:
            stopping.append(EarlyStoppingCallback(self.config.patience))
        return TreeTrainer(
            self.lm,
            model,
            self.arguments,
            self.rows,
            self.settings,
            self.dev,
            sequences=self.sequences,
            callbacks=[*stopping, *callbacks],
        )


def prepare(
    config: FinetuneConfig,
    train: Sequence[AnnotatedText],
    dev: Sequence[AnnotatedText] = (),
    *,
    sequences: bool = False,
) -> Finetuning:
    """config (FinetuneConfig): What is stated.
    train (Sequence[AnnotatedText]): The training texts.
    dev (Sequence[AnnotatedText]): Texts to evaluate on.
    sequences (bool): Whether to train on separate sequences, as the paper does, in the place of
        trees: the same loss, and more tokens.
    RETURNS (Finetuning): What trains.
    RAISES (ValueError): Something stated is not possible.
    RAISES (ImportError): Something stated needs a package that isn't installed.
    """
    require("accelerate", "Fine-tuning", extra="llm")
    _check_texts("train", config.corpora("train"), train)
    _check_texts("dev", config.corpora("dev"), dev)
    if config.lora is not None:
        check_lora(config.lora, config.checkpoint, config.load)
    arguments = make_arguments(config)
    settings = find_settings(config, train)
    lm = load_causal_lm(
        config.checkpoint,
        prefix_attention=settings.prefix_attention,
        options=on_device(config.load, str(arguments.device)),
    )
    _check_weights(config, lm)
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    objective = make_objective(encoder, settings, config.tag_text)
    settings = replace(settings, text_tags=objective.teaches_tags)
    taught, report = _examine(train, objective, settings, lm)
    if arguments.process_index == 0:
        _warn(report, taught, config.row_tokens)
    if not taught:
        raise ValueError(Errors.P078.format(labels=", ".join(settings.labels)))
    rows, figures = _make_rows(config, arguments, taught, objective, settings, lm)
    evaluation = None
    if dev:
        evaluated, gold = _examine(dev, objective, settings, lm)
        if arguments.process_index == 0 and not gold.gold:
            message = Warnings.W076.format(labels=", ".join(settings.labels))
            warnings.warn(message, stacklevel=2)
        evaluation = DevEvaluation(dev, evaluated, objective, settings, config.row_tokens)
    return Finetuning(config, arguments, settings, lm, rows, figures, evaluation, sequences)


def _check_texts(key: str, files: Sequence[str], texts: Sequence[AnnotatedText]) -> None:
    if files and not texts:
        raise ValueError(Errors.P085.format(files=", ".join(files), key=key))


def _check_weights(config: FinetuneConfig, lm: CausalLM) -> None:
    """Before anything is trained that could not be saved."""
    if config.lora is None:
        check_trainable(lm.model)
        return
    files = CheckpointFiles(find_folder(config.checkpoint), config.load)
    if config.merges and files.is_quantized:
        raise ValueError(Errors.P080.format(name=config.checkpoint))
    conversion = find_conversion(files)
    if config.save == "adapter" and conversion is not None and conversion.load_model is not None:
        raise ValueError(Errors.P081.format(name=config.checkpoint))


def _scores_of_result(trainer: TreeTrainer) -> dict[str, Any]:
    """RETURNS (Dict[str, Any]): The evaluation of the step whose weights are the result."""
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    best = trainer.state.best_model_checkpoint
    if trainer.args.load_best_model_at_end and best is not None:
        name = Path(best).name
        evaluated = [e for e in evaluated if f"checkpoint-{e['step']}" == name] or evaluated
    return dict(evaluated[-1]) if evaluated else {}


def _examine(
    texts: Sequence[AnnotatedText], objective: Objective, settings: CheckpointSettings, lm: CausalLM
) -> tuple[list[TaughtText], GoldReport]:
    return prepare_texts(
        texts,
        objective,
        list(settings.labels),
        fits=Fit(lm, objective.encoder, settings),
        check_depth=lm.check_depth,
    )


def _warn(report: GoldReport, taught: Sequence[TaughtText], row_tokens: int) -> None:
    report.warn()
    if large := [text.size for text in taught if text.size > row_tokens]:
        message = Warnings.W074.format(count=len(large), row_tokens=row_tokens, longest=max(large))
        warnings.warn(message, stacklevel=3)


def _make_rows(
    config: FinetuneConfig,
    arguments: TrainingArguments,
    taught: Sequence[TaughtText],
    objective: Objective,
    settings: CheckpointSettings,
    lm: CausalLM,
) -> tuple[RowDataset, RowFigures]:
    versions = Versions(
        taught,
        objective,
        list(settings.labels),
        swap=None if config.augment is None else config.augment.make_swap(),
        fits=lm.fits,
        seed=arguments.seed,
    )
    # Room for what augmentation adds.
    planned = int(config.row_tokens / versions.growth)
    rows = pack_rows([text.size for text in taught], planned, arguments.seed)
    at_once = arguments.per_device_train_batch_size
    figures = measure_rows(rows, taught, config.row_tokens, at_once)
    multiple = at_once * arguments.gradient_accumulation_steps * arguments.world_size
    return RowDataset(rows, versions, config.row_tokens, arguments.seed, multiple), figures
