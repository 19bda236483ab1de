"""Hugging Face's Trainer over rows of supervised trees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from ..checkpoints.adapters import has_adapter
from ..checkpoints.files import has_weights
from ..checkpoints.saving import save_settings
from ..checkpoints.settings import CheckpointSettings
from ..errors import Errors
from ..tree.causal_lm import CausalLM
from .evaluation import DevEvaluation
from .rows import RowDataset, collate
from .supervised_tree import SupervisedTree, target_log_probs


class TreeTrainer(Trainer):
    """Trains the paper's objective: one pass over the trees of a row.

    lm (CausalLM): The language model; what is trained calls it.
    model (torch.nn.Module): What is trained: the model itself, or an adapter around it.
    arguments (TrainingArguments): Trainer's arguments.
    rows (RowDataset): The training texts.
    settings (CheckpointSettings): What checkpoints are saved with.
    dev (Optional[DevEvaluation]): What to evaluate on.
    sequences (bool): Whether to train on separate sequences in the place of trees.
    callbacks (Sequence[TrainerCallback]): What else is to happen in training.
    RAISES (ValueError): An adapter in the shards of FSDP 1.
    """

    # The loss is that of the whole step already, however many parts it is computed in.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        lm: CausalLM,
        model: PreTrainedModel | torch.nn.Module,
        arguments: TrainingArguments,
        rows: RowDataset,
        settings: CheckpointSettings,
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
            processing_class=lm.tokenizer,
            callbacks=[_Epochs(rows), _Saved(settings), *(callbacks or ())],
        )
        self.model_accepts_loss_kwargs = True
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.fsdp_version == 1 and has_adapter(model):
            # Modules have other names in shards, by which PEFT finds no adapter to save.
            raise ValueError(Errors.P087)
        self._lm = lm
        self._trained = lm.forced("sequences") if sequences else lm
        self._dev = dev

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | None]:
        """epoch_iterator (Iterator): Gives batches.
        num_batches (int): How many make a step.
        device (torch.device): Where the step is made.
        RETURNS (Tuple[List, Optional[Tensor]]): The batches, and the weight of all that is taught
            in them, on all processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = sum(sum(tree.weights) for batch in batches for tree in batch["trees"])
        total = torch.tensor(weight, dtype=torch.float32, device=self.accelerator.device)
        return batches, self.accelerator.reduce(total, "sum")

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """model (torch.nn.Module): The model, as it is trained on one device or several.
        inputs (Dict[str, Any]): Trees.
        return_outputs (bool): Whether log-probabilities are wanted, too.
        num_items_in_batch (Optional[Tensor]): The weight of all that is taught in this step, by
            default of these trees.
        RETURNS (Union[Tensor, Tuple[Tensor, Tensor]]): The part of the step's loss that these trees
            have: the mean negative log-probability of the tokens taught.
        """
        trees: list[SupervisedTree] = inputs["trees"]
        log_probs = target_log_probs(self._trained.through(model), trees)
        weights = torch.tensor([w for tree in trees for w in tree.weights]).to(log_probs)
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes.
        loss = -(weights * log_probs).sum() / total * self.accelerator.num_processes
        return (loss, log_probs) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """eval_dataset (Any): Not used: the texts are those of `dev`.
        ignore_keys (Optional[List[str]]): Not used.
        metric_key_prefix (str): What names of scores begin with.
        RETURNS (Dict[str, float]): The scores.
        """
        if self._dev is None:
            return {}
        start = time.perf_counter()
        model = cast(torch.nn.Module, self.model)
        model.eval()
        # Of a model in shards every process has to make the same passes.
        share, shares = (
            (0, 1) if self.is_fsdp_enabled else (self.args.process_index, self.args.world_size)
        )
        with self.compute_loss_context_manager():
            at_once = self.args.per_device_eval_batch_size
            counts = self._dev.count(self._lm.through(model), at_once, share, shares)
        if shares > 1:
            counts = self.accelerator.reduce(counts.to(self.accelerator.device), "sum").cpu()
        scores = {**self._dev.score(counts), "runtime": round(time.perf_counter() - start, 3)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """inputs (Dict[str, Any]): Trees.
        RETURNS (int): About how many operations a step over them takes.
        """
        tokens = sum(len(tree.tree) for tree in inputs["trees"])
        return 6 * tokens * self._lm.model.num_parameters(exclude_embeddings=True)

    def _get_train_sampler(self, *args: Any) -> Sampler:
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

    def __init__(self, settings: CheckpointSettings) -> None:
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
