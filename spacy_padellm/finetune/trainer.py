"""Hugging Face's Trainer over rows of supervised trees."""

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
from ..settings import Settings
from ..train.supervised import target_log_probs, total_weight, weighted_loss
from .evaluation import DevEvaluation
from .rows import RowDataset, collate


class TreeTrainer(Trainer):
    """Trains the paper's objective: one pass over the trees of a row.

    Args:
        padellm: The language model, and the settings checkpoints are saved with.
        model: What is trained: the model itself, or an adapter around it.
        arguments: Trainer's arguments.
        rows: The training texts.
        dev: What to evaluate on.
        sequences: Whether to train on separate sequences in the place of trees.
        callbacks: What else is to happen in training.

    Attributes:
        lm: The language model, run as it is in training.

    Raises:
        ValueError: An adapter is to be trained in the shards of FSDP 1.
    """

    # The loss is that of the whole step already, however many parts it is computed in.
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
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            # Trainer asks only whether there is one.
            eval_dataset=None if dev is None else list(dev.texts),
            data_collator=collate,
            processing_class=padellm.lm.tokenizer,
            callbacks=[_Epochs(rows), _Saved(padellm.settings), *(callbacks or ())],
        )
        self.model_accepts_loss_kwargs = True
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.fsdp_version == 1 and has_adapter(model):
            # Modules have other names in shards, by which PEFT finds no adapter to save.
            raise ValueError(Errors.P087)
        self.padellm = padellm
        self.lm = padellm.lm.run_as("sequences") if sequences else padellm.lm
        self.dev = dev

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | None]:
        """Take the batches of a step.

        Args:
            epoch_iterator: Gives batches.
            num_batches: How many make a step.
            device: Where the step is made.

        Returns:
            The batches, and the weight of all that is taught in them, on all processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = sum(total_weight(batch["trees"]) for batch in batches)
        total = torch.tensor(weight, dtype=torch.float32, device=self.accelerator.device)
        return batches, self.accelerator.reduce(total, "sum")

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Take the part of the step's loss that some trees have.

        Args:
            model: The model, as it is trained on one device or several.
            inputs: The trees.
            return_outputs: Whether log-probabilities are wanted, too.
            num_items_in_batch: The weight of all that is taught in this step, by default of these
                trees.

        Returns:
            The loss, a scalar, and if wanted the log-probabilities of what is taught.
        """
        trees = inputs["trees"]
        log_probs = target_log_probs(self.lm.through(model), trees)
        loss = weighted_loss(trees, log_probs, num_items_in_batch)
        # Gradients are averaged over processes.
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
            metric_key_prefix: What names of scores begin with.
        """
        if self.dev is None:
            return {}
        start = time.perf_counter()
        model = cast(torch.nn.Module, self.model)
        model.eval()
        # Of a model in shards every process has to make the same passes.
        share, shares = (
            (0, 1) if self.is_fsdp_enabled else (self.args.process_index, self.args.world_size)
        )
        trained = PaDeLLM(self.padellm.lm.through(model), self.padellm.settings)
        with cast(Any, self).compute_loss_context_manager():
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

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Estimate how many operations a step over trees takes."""
        tokens = sum(len(tree.tree) for tree in inputs["trees"])
        return 6 * tokens * int(self.lm.model.num_parameters(exclude_embeddings=True))

    def _get_train_sampler(self, *args: Any) -> Sampler[int]:
        # Rows come in an order of their own, which depends on seed and epoch alone.
        return SequentialSampler(cast(RowDataset, self.train_dataset))


class _Epochs(TrainerCallback):
    """Tells rows what epoch it is."""

    def __init__(self, rows: RowDataset) -> None:
        self._rows = rows

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # One that is resumed is a fraction.
        self._rows.epoch = int((state.epoch or 0) + 1e-6)


class _Saved(TrainerCallback):
    """Makes Trainer's checkpoints ones that can be loaded like any, and known to all processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        from accelerate import PartialState

        steps = Path(str(args.output_dir))
        folder = steps / f"checkpoint-{state.global_step}"
        # Shards can be gone on from, but not be loaded.
        if state.is_world_process_zero and has_weights(folder):
            save_settings(folder, self._settings)
        PartialState().wait_for_everyone()
        # A process may have looked for it before the first one had written it, and would go on
        # with an earlier one, or with none.
        best = steps / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)
