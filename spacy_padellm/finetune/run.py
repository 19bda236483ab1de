"""Run a fine-tuning, from its configuration to the resulting checkpoint."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers.trainer_callback import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, set_seed
from transformers.training_args import TrainingArguments

from ..checkpoints.conversion import find_conversion
from ..checkpoints.files import CheckpointFiles, find_folder
from ..checkpoints.loading import check_trainable, load_causal_lm
from ..checkpoints.options import LoadOptions
from ..checkpoints.saving import save_settings
from ..checkpoints.whole import remove_weights
from ..errors import Errors, Warnings, require
from ..model import PaDeLLM
from ..settings import Settings
from ..texts import AnnotatedText
from ..train.versions import TextVersions
from ..tree.causal_lm import CausalLM
from .arguments import make_arguments
from .config import FinetuneConfig, find_settings
from .evaluation import DevEvaluation
from .lora import add_lora, make_lora
from .rows import RowDataset, RowFigures, TaughtText, measure_rows, pack_rows, prepare_texts
from .trainer import TreeTrainer

# The file beside Trainer's checkpoints that notes what a training began with.
_BEGUN_WITH = "begun_with.json"
# Entries that may change in a resumed training, to train longer or with moved corpora.
_MAY_DIFFER = {"output", "train", "dev", "patience", "save", "training", "labels", "preset"}
# Trainer writes this file last, so a checkpoint without it is not complete.
_LAST_WRITTEN = "trainer_state.json"
# Trainer saves its arguments in this file, but nothing loads it.
_ARGUMENTS = "training_args.bin"


@dataclass(frozen=True)
class Finetuning:
    """A prepared fine-tuning, ready to start.

    Args:
        config: The configuration.
        arguments: Trainer's arguments.
        padellm: The model, with the settings it is trained with.
        rows: The training texts.
        figures: How full the rows are.
        dev: The evaluation; `None` to evaluate nothing.
        sequences: Whether to train on separate sequences instead of trees.
    """

    config: FinetuneConfig
    arguments: TrainingArguments
    padellm: PaDeLLM
    rows: RowDataset
    figures: RowFigures
    dev: DevEvaluation | None
    sequences: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, the one that reports and writes."""
        return bool(self.arguments.process_index == 0)

    @property
    def last_step(self) -> Path | None:
        """The last complete Trainer checkpoint; `None` if there is none."""
        return find_last_step(self.config.steps)

    def train(
        self, *, resume: bool = False, callbacks: Sequence[TrainerCallback] = ()
    ) -> dict[str, Any]:
        """Train the model, and write the resulting checkpoint.

        Args:
            resume: Whether to continue from the last of Trainer's checkpoints.
            callbacks: Further callbacks for Trainer.

        Returns:
            Trainer's figures, and the evaluation scores of the resulting weights.

        Raises:
            ValueError: Trainer's checkpoints exist but `resume` is false, or they belong to another
                configuration.
        """
        last = self.last_step
        if last is not None and not resume:
            raise ValueError(Errors.P077.format(path=self.config.steps))
        self._compare_begin(go_on=last is not None)
        trainer = self.make_trainer(callbacks)
        with self._inputs_as_they_are(trainer.model):
            figures = trainer.train(resume_from_checkpoint=None if last is None else str(last))
        self._save(trainer)
        return {**_scores_of_result(trainer), **figures.metrics}

    def _inputs_as_they_are(self, model: Any) -> AbstractContextManager[None]:
        """Keep an adapter from converting its inputs to float32, if autocast converts them back."""
        if self.config.lora is None:
            return nullcontext()
        from peft.helpers import disable_input_dtype_casting

        return disable_input_dtype_casting(model, active=self.arguments.bf16 or self.arguments.fp16)

    def make_trainer(self, callbacks: Sequence[TrainerCallback] = ()) -> TreeTrainer:
        """Create the trainer, and add an adapter to the model if the configuration has one.

        Args:
            callbacks: Further callbacks for Trainer.
        """
        model: Any = self.padellm.lm.model
        if self.config.lora is not None:
            # So that every process starts with the same adapter.
            set_seed(self.arguments.seed)
            checkpointing = self.arguments.gradient_checkpointing
            model = add_lora(model, self.config, gradient_checkpointing=checkpointing)
        patience = self.config.patience
        stopping = [] if patience is None else [EarlyStoppingCallback(patience)]
        return TreeTrainer(
            self.padellm,
            model,
            self.arguments,
            self.rows,
            self.dev,
            sequences=self.sequences,
            callbacks=[*stopping, *callbacks],
        )

    def _compare_begin(self, *, go_on: bool) -> None:
        """Note the configuration of a new training, or check that a resumed one has the same."""
        stated = self.config.model_dump(mode="json", exclude=_MAY_DIFFER)
        stated["settings"] = json.loads(self.padellm.settings.to_json())
        path = self.config.steps / _BEGUN_WITH
        if go_on and path.is_file():
            noted = json.loads(path.read_text(encoding="utf8"))
            names = [name for name, value in stated.items() if noted.get(name) != value]
            if names:
                raise ValueError(Errors.P084.format(path=path.parent, names=", ".join(names)))
        elif self.is_first and not go_on:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(stated), encoding="utf8")

    def _save(self, trainer: TreeTrainer) -> None:
        """Write the resulting checkpoint. Every process has to call it; the first one writes."""
        config = self.config
        if trainer.is_fsdp_enabled:
            # Save whole weights, not the shards of each process.
            trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        written = config.steps / "adapter" if config.merges else config.folder
        if trainer.args.should_save and not config.merges:
            remove_weights(config.folder)
        trainer.accelerator.wait_for_everyone()
        trainer.save_model(str(written))
        if trainer.args.should_save:
            (written / _ARGUMENTS).unlink(missing_ok=True)
            if config.merges:
                # Load the model again without quantization, so that merging rounds nothing.
                plain = replace(
                    _as_trained(config.load, on_cpu=False),
                    quantization=None,
                    revision=None,
                    attn_implementation=None,
                )
                settings = self.padellm.settings
                _load(str(written), settings, plain).save_pretrained(config.folder)
                shutil.rmtree(written)
            else:
                padellm = self.padellm
                save_settings(config.folder, padellm.settings, padellm.lm.tokenizer)
        trainer.accelerator.wait_for_everyone()


def _as_trained(options: LoadOptions, *, on_cpu: bool) -> LoadOptions:
    """Return the options with which weights are loaded that are trained elsewhere, or saved."""
    return options if on_cpu or options.dtype != "auto" else replace(options, dtype="stored")


def prepare(
    config: FinetuneConfig,
    train: Sequence[AnnotatedText],
    dev: Sequence[AnnotatedText] = (),
    *,
    sequences: bool = False,
) -> Finetuning:
    """Load the model, and prepare everything that a fine-tuning needs.

    Args:
        config: The configuration.
        train: The training texts.
        dev: The texts to evaluate on.
        sequences: Whether to train on separate sequences, as the paper does, instead of trees. The
            loss is the same, but more tokens are run.

    Raises:
        ValueError: An entry of the configuration is not possible, or the texts teach nothing.
        ImportError: An entry needs a package that isn't installed.
    """
    require("accelerate", "Fine-tuning", extra="llm")
    for key, texts in (("train", train), ("dev", dev)):
        files = config.corpora(key)
        if files and not texts:
            raise ValueError(Errors.P085.format(files=", ".join(files), key=key))
    if config.lora is not None:
        make_lora(config)
    arguments = make_arguments(config)
    settings = find_settings(config, train)
    options = _as_trained(config.load, on_cpu=arguments.device.type == "cpu")
    if options.quantization is not None:
        # Only quantized weights are loaded in place: Trainer moves or divides others from the CPU.
        options = replace(options, device=str(arguments.device))
    padellm = _load(config.checkpoint, settings, options)
    _check_weights(config, padellm.lm)
    objective = padellm.make_objective(config.tag_text)
    padellm = padellm.with_settings(settings.as_trained(text_tags=objective.teaches_tags))
    labels = ", ".join(settings.labels)
    taught, report = prepare_texts(train, padellm, objective)
    large = [text.size for text in taught if text.size > config.row_tokens]
    if arguments.process_index == 0:
        report.warn()
        if large:
            _warn(Warnings.W074, count=len(large), row_tokens=config.row_tokens, longest=max(large))
    if not taught:
        raise ValueError(Errors.P078.format(labels=labels))
    # Workers last for an epoch, in which nothing is used again.
    cached = {"max_bytes": 0} if arguments.dataloader_num_workers else {}
    versions = TextVersions(objective, swap=config.augment, fits=padellm.lm.fits, **cached)
    rows, figures = _make_rows(config, arguments, taught, versions)
    evaluation = None
    if dev:
        evaluated, gold = prepare_texts(dev, padellm, objective)
        if arguments.process_index == 0 and not gold.gold:
            _warn(Warnings.W076, labels=labels)
        evaluation = DevEvaluation(dev, evaluated, versions, config.row_tokens)
    return Finetuning(config, arguments, padellm, rows, figures, evaluation, sequences)


def _load(name: str, settings: Settings, options: LoadOptions) -> PaDeLLM:
    bidirectional = settings.prefix_attention == "bidirectional"
    lm = load_causal_lm(name, bidirectional_prefix=bidirectional, options=options)
    return PaDeLLM(lm, settings)


def find_last_step(folder: Path) -> Path | None:
    """Find the last complete Trainer checkpoint in a folder; `None` if there is none."""
    found = {
        int(number): path.parent
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{_LAST_WRITTEN}")
        if (number := path.parent.name.rpartition("-")[2]).isdigit()
    }
    return found[max(found)] if found else None


def _check_weights(config: FinetuneConfig, lm: CausalLM) -> None:
    """Reject weights that cannot be trained, or that could not be saved afterwards."""
    if config.lora is None:
        check_trainable(lm.model)
        return
    files = CheckpointFiles(find_folder(config.checkpoint), config.load)
    if config.merges and files.is_quantized:
        raise ValueError(Errors.P080.format(name=config.checkpoint))
    conversion = find_conversion(files)
    is_changed = conversion is not None and conversion.load_model is not None
    # The weights of a GGUF file are read as they are, so an adapter fits the file.
    if config.save == "adapter" and is_changed and not files.is_gguf:
        raise ValueError(Errors.P081.format(name=config.checkpoint))


def _scores_of_result(trainer: TreeTrainer) -> dict[str, Any]:
    """Find the evaluation scores of the step whose weights are the result."""
    evaluated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    best = trainer.state.best_model_checkpoint
    if trainer.args.load_best_model_at_end and best is not None:
        name = Path(best).name
        evaluated = [e for e in evaluated if f"checkpoint-{e['step']}" == name] or evaluated
    return dict(evaluated[-1]) if evaluated else {}


def _make_rows(
    config: FinetuneConfig,
    arguments: TrainingArguments,
    taught: Sequence[TaughtText],
    versions: TextVersions,
) -> tuple[RowDataset, RowFigures]:
    # Leave room in the rows for what augmentation adds.
    growth = 1 if config.augment is None else config.augment.growth
    planned = int(config.row_tokens / growth)
    rows = pack_rows([text.size for text in taught], planned, arguments.seed)
    at_once = arguments.per_device_train_batch_size
    figures = measure_rows(rows, taught, config.row_tokens, at_once)
    multiple = at_once * arguments.gradient_accumulation_steps * arguments.world_size
    seed = arguments.seed
    return RowDataset(rows, taught, versions, config.row_tokens, seed, multiple), figures


def _warn(message: str, **values: Any) -> None:
    # The warning names the line that calls `prepare`.
    warnings.warn(message.format(**values), stacklevel=3)
