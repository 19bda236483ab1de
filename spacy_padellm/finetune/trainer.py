"""Hugging Face's Trainer for rows of supervised trees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from ..checkpoints.adapters import has_adapter
from ..checkpoints.files import has_weights
from ..checkpoints.saving import save_settings
from ..errors import Errors
from ..model import PaDeLLM
from ..train.supervised import list_weights, target_log_probs, weighted_loss
from .evaluation import DevEvaluation
from .rows import RowDataset, collate


class TreeTrainer(Trainer):
    """A trainer on supervised trees, with one pass over the trees of a row.

    Args:
        padellm: The language model, and the settings that checkpoints are saved with.
        model: The module to train: the language model itself, or an adapter around it.
        arguments: Trainer's arguments.
        rows: The training texts.
        dev: The evaluation; `None` to evaluate nothing.
        sequences: Whether to train on separate sequences instead of trees.
        callbacks: Further callbacks for Trainer.

    Attributes:
        lm: The language model, which runs trees or separate sequences.

    Raises:
        ValueError: An adapter is to be trained with FSDP 1.
    """

    # The loss is already divided by the weight of the whole step, for gradient accumulation.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        padellm: PaDeLLM,
        model: torch.nn.Module,
        arguments: TrainingArguments,
        rows: RowDataset,
        dev: DevEvaluation | None = None,
        *,
        sequences: bool = False,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self._epochs = _Epochs(rows)
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            # Trainer only asks whether there is one: `evaluate` reads `dev`.
            eval_dataset=None if dev is None else list(dev.texts),
            data_collator=collate,
            processing_class=padellm.lm.tokenizer,
            callbacks=[
                self._epochs,
                _Saved(padellm),
                _ShortLogits(),
                *(callbacks or ()),
            ],
        )
        self.model_accepts_loss_kwargs = True
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.fsdp_version == 1 and has_adapter(model):
            # FSDP 1 renames modules, so PEFT would not find the adapter to save.
            raise ValueError(Errors.P087)
        self.padellm = padellm
        self.lm = padellm.lm.run_as("sequences") if sequences else padellm.lm
        self.dev = dev

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | None]:
        """Get the batches of a training step.

        Args:
            epoch_iterator: The batches of the epoch.
            num_batches: Number of batches in the step.
            device: The device of the step.

        Returns:
            The batches, and the total weight of the supervised tokens in them, summed over all
            processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = sum(sum(list_weights(batch["trees"])) for batch in batches)
        total = torch.tensor(weight, dtype=torch.float32, device=self.accelerator.device)
        return batches, self.accelerator.reduce(total, "sum")

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Compute what some trees contribute to the loss of the step.

        Args:
            model: The module to train, as Trainer wraps it for one device or several.
            inputs: The trees, under the key `trees`.
            return_outputs: Whether to return the log-probabilities, too.
            num_items_in_batch: The total weight of the step, by default that of these trees.

        Returns:
            The loss, a scalar. With `return_outputs`, also the log-probabilities of the supervised
            tokens, shape `(n_supervised,)`.
        """
        trees = inputs["trees"]
        with self.accelerator.autocast():
            log_probs = target_log_probs(self.lm.through(model), trees, self.padellm.encoder)
        loss = weighted_loss(trees, log_probs, num_items_in_batch)
        # Processes average their gradients, but the loss of the step is a sum.
        loss = loss * self.accelerator.num_processes
        return (loss, log_probs) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the model on the texts of `dev`.

        Args:
            eval_dataset: Not used.
            ignore_keys: Not used.
            metric_key_prefix: Prefix of the scores' names.

        Returns:
            The scores, and the runtime in seconds; empty without `dev`.
        """
        if self.dev is None:
            return {}
        start = time.perf_counter()
        model = cast(torch.nn.Module, self.model)
        model.eval()
        # With FSDP, every process has to run the same passes, so each one reads all texts.
        share, shares = (
            (0, 1) if self.is_fsdp_enabled else (self.args.process_index, self.args.world_size)
        )
        trained = PaDeLLM(self.padellm.lm.through(model), self.padellm.settings)
        with self.accelerator.autocast():
            at_once = self.args.per_device_eval_batch_size
            counts = self.dev.count(trained, at_once, share, shares)
        if shares > 1:
            counts = self.accelerator.reduce(counts.to(self.accelerator.device), "sum").cpu()
        scores = {**self.dev.score(counts), "runtime": round(time.perf_counter() - start, 3)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log figures.

        Args:
            logs: The figures; changed in place.
            start_time: When training started, if speed is to be logged.
        """
        if "train_loss" in logs:
            # Before version 5, Trainer divides the loss of the steps run here by that of all steps.
            own = self.state.global_step - self._epochs.first_step
            logs["train_loss"] = self._total_loss_scalar / max(own, 1)
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Estimate the number of floating point operations that a step over trees takes."""
        tokens = sum(len(tree.tree) for tree in inputs["trees"])
        return 6 * tokens * int(self.lm.model.num_parameters(exclude_embeddings=True))

    def _get_train_sampler(self, *args: Any) -> Sampler[int]:
        # `RowDataset` shuffles the rows itself, by seed and epoch.
        return SequentialSampler(cast(RowDataset, self.train_dataset))


class _Epochs(TrainerCallback):
    """A callback that tells the rows which epoch it is.

    Attributes:
        first_step: Number of steps that were run before this training, if it is resumed.
    """

    def __init__(self, rows: RowDataset) -> None:
        self._rows = rows
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.first_step = state.global_step

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # In a run that is resumed within an epoch, this is a fraction.
        self._rows.epoch = int((state.epoch or 0) + 1e-6)


class _ShortLogits(TrainerCallback):
    """A callback that leaves logits in the short floating point type of mixed precision.

    Accelerate would make a copy in float32, which is large if the vocabulary is.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        model = others["model"]
        # Without Accelerate's wrapper, autocast is on only where the trainer turns it on.
        original = vars(model).pop("_original_forward", None)
        if original is not None:
            model.forward = original


class _Saved(TrainerCallback):
    """A callback that adds settings to checkpoints, and tells all processes the best one."""

    def __init__(self, padellm: PaDeLLM) -> None:
        self._padellm = padellm

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        from accelerate import PartialState

        steps = Path(str(args.output_dir))
        folder = steps / f"checkpoint-{state.global_step}"
        # Sharded weights can only be resumed from, not loaded.
        if state.is_world_process_zero and has_weights(folder):
            save_settings(folder, self._padellm.settings, self._padellm.lm.tokenizer)
        PartialState().wait_for_everyone()
        # A process may have looked for the best checkpoint before the first process wrote it. It
        # would go on with an earlier one, or with none.
        best = steps / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)
