"""One optimizer step as our trainer over TRL's SFTTrainer and transformers' Trainer does it, call for call, on meta tensors."""

from __future__ import annotations

import functools
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch

from engine.fit.simulate import objectives
from engine.fit.simulate.autocast import Autocast
from engine.fit.simulate.device import Device
from engine.fit.simulate.losses import logits_loss
from engine.fit.simulate.model import META, Built, _quiet
from engine.fit.simulate.recorder import Recorder
from engine.fit.simulate.stack import FUSED, Stack
from engine.fit.simulate.trace import OUTSIDE, Recording
from engine.fit.types import TrainSetup


class Stepper:
    """Runs steps of one model, one after the other, at any length.

    Args:
        built: The model.
        setup: The run.
        stack: Its software.
        recorder: Where to note what happens.
        autocast: To enter around forward passes where the run uses mixed precision.
        device: What is simulated.
    """

    def __init__(
        self,
        built: Built,
        setup: TrainSetup,
        stack: Stack,
        recorder: Recorder,
        autocast: Autocast,
        device: Device,
    ) -> None:
        self.built = built
        self.setup = setup
        self.stack = stack
        self.recorder = recorder
        self.autocast = autocast
        self.device = device
        self.uses_autocast = device.kind == "cuda" and setup.autocast and setup.dtype != "float32"
        autocast.dtype = torch.float16 if setup.dtype == "float16" else torch.bfloat16
        if self.uses_autocast:
            _checkpoint_with(built.model, autocast)
        self.trainer = (
            _trainer(built.model, setup)
            if setup.objective == "sft"
            else objectives.stand_in(built.model, setup, self._prepared(built.model.forward))
        )
        self.optimizer = _optimizer(built.model, setup)
        self.trained = [p for p in built.model.parameters() if p.requires_grad]
        self._kept: Any = None
        # cuBLAS takes a workspace for each thread's handle: the main thread's and the backward thread's.
        with recorder:
            recorder.mark("workspace")
            self._workspaces = [
                torch.empty(device.cublas_workspace, dtype=torch.uint8, device=META) for _ in range(2)
            ]
        for name, parameter in built.model.named_parameters():
            recorder.own(parameter, built.layer(name))
        for index, layer in enumerate(built.layers):
            layer.register_forward_pre_hook(functools.partial(self._enter, index))
        built.layers[-1].register_forward_hook(self._leave)

    def _enter(self, index: int, *_: Any) -> None:
        self.recorder.enter_layer(index)

    def _leave(self, *_: Any) -> None:
        self.recorder.leave_layers()

    def train(self, length: int, batch: int | None = None) -> Recording:
        """One optimizer step with batches of this length, accumulation included.

        Returns:
            Everything it allocated and released.
        """
        recorder, model = self.recorder, self.built.model
        batch = batch or self.setup.batch
        with _quiet(), recorder:
            recorder.mark("inputs")
            micro = [self._batch(batch, length) for _ in range(self.setup.gradient_accumulation)]
            # Accelerate's loader fetches the next batch while this one is used.
            following = self._batch(batch, length) if self.device.kind == "cuda" else None
            items = torch.ones((), dtype=torch.long).to(META)
            model.train()
            for inputs in micro:
                recorder.mark("forward")
                recorder.forward_begins()
                with torch.enable_grad():
                    loss = self._forward(dict(inputs), items)
                recorder.mark("backward")
                recorder.backward_begins()
                loss.backward()
                recorder.backward_ends()
                del loss
                if not self.stack.keeps_last_outputs:
                    self._kept = None
            recorder.mark("optimizer")
            self._own_gradients()
            recorder.by_owner = True
            norm = torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            model.zero_grad()
            recorder.by_owner = False
            recorder.layer = OUTSIDE
            del norm, micro, inputs, following, items
        return recorder.take()

    def evaluate(self, length: int, batch: int) -> Recording:
        """One evaluation batch."""
        recorder, model = self.recorder, self.built.model
        with _quiet(), recorder:
            recorder.mark("evaluation")
            recorder.forward_begins()
            self._kept = None
            inputs = self._batch(batch, length, padded=True)
            model.eval()
            with torch.no_grad():
                loss = self._forward(inputs, None)
            recorder.forward_begins()
            del inputs, loss
            model.train()
        return recorder.take()

    def generate(self) -> Recording:
        """The answers of a step: their prompts are read at once, and the last of their tokens is written."""
        recorder, model, setup = self.recorder, self.built.model, self.setup
        prompt = max(1, setup.seq_len - setup.answer_length)
        with _quiet(), recorder:
            recorder.mark("generation")
            recorder.forward_begins()
            model.eval()
            with torch.no_grad():
                objectives.write_answers(model, recorder, setup.answers, prompt, setup.seq_len)
            recorder.forward_begins()
            model.train()
        recording = recorder.take()
        recording.marks = recording.marks[:1]  # what follows the layers is no loss here
        return recording

    def _batch(self, batch: int, length: int, padded: bool = False) -> dict[str, torch.Tensor]:
        if self.setup.objective != "sft":
            return objectives.inputs_of(self.setup, batch, length)
        if self.setup.lines and self.stack.loss == FUSED and not padded:
            return _lines(batch, length)
        return _inputs(batch, length)

    def _prepared(self, forward: Any) -> Any:
        """A model's forward pass as accelerate makes it: under autocast, with results in float32."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.uses_autocast or self.autocast.is_enabled():
                return forward(*args, **kwargs)
            from accelerate.utils.operations import convert_to_fp32

            with self.autocast:
                result = forward(*args, **kwargs)
            return convert_to_fp32(result)

        return call

    def _forward(self, inputs: dict[str, torch.Tensor], items: torch.Tensor | None) -> torch.Tensor:
        if self.setup.objective != "sft":
            return objectives.loss_of(self.trainer, self.setup, inputs)
        if self.stack.loss == FUSED:
            from engine.train.lean_loss import LeanLoss

            return LeanLoss.compute_loss(self.trainer, self._call, inputs, num_items_in_batch=items)
        loss, outputs = self._call(**inputs, loss=self.stack.loss)
        # Where the loop never drops the last outputs, those of the batch before are released here.
        self._kept = outputs if self.stack.keeps_outputs else None
        return loss

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """``Accelerator.prepare_model``: autocast around the forward pass, its result in float32."""
        loss = kwargs.pop("loss", None)
        call = functools.partial(logits_loss, self.built.model, loss) if loss else self.built.model
        if not self.uses_autocast:
            return call(*args, **kwargs)
        from accelerate.utils.operations import convert_to_fp32

        with self.autocast:
            result = call(*args, **kwargs)
        return convert_to_fp32(result)

    def _own_gradients(self) -> None:
        for name, parameter in self.built.model.named_parameters():
            if parameter.grad is not None:
                self.recorder.own(parameter.grad, self.built.layer(name))


def _checkpoint_with(model: Any, autocast: Autocast) -> None:
    """Recompute layers under the autocast of the forward pass, as ``torch.utils.checkpoint`` does for real devices."""
    for module in model.modules():
        usual = getattr(module, "_gradient_checkpointing_func", None)
        if usual is not None:
            module._gradient_checkpointing_func = functools.partial(_resuming, usual, autocast)


def _resuming(checkpoint: Any, autocast: Autocast, function: Any, *args: Any, **kwargs: Any) -> Any:
    return checkpoint(autocast.resumed(function), *args, **kwargs)


def _inputs(batch: int, length: int) -> dict[str, torch.Tensor]:
    """What the collator makes, moved to the device."""
    return {
        name: torch.zeros((batch, length), dtype=torch.long).to(META)
        for name in ("input_ids", "attention_mask", "labels")
    }


def _lines(batch: int, length: int) -> dict[str, torch.Tensor]:
    """What `engine.train.packing.StepCollator` makes: a position for every token, so no attention mask."""
    names = ("input_ids", "labels", "position_ids")
    made = {name: torch.zeros((batch, length), dtype=torch.long).to(META) for name in names}
    return made | {"num_tokens": torch.zeros((), dtype=torch.long).to(META)}


def _trainer(model: Any, setup: TrainSetup) -> Any:
    """As much of a trainer as ``LeanLoss.compute_loss`` looks at."""
    text = model.config.get_text_config()
    coefficient = getattr(text, "router_aux_loss_coef", 0.0)
    auxiliary = hasattr(text, "output_router_logits") and coefficient != 0.0
    if hasattr(text, "router_aux_loss_coef"):
        text.output_router_logits = auxiliary
    return SimpleNamespace(
        model=model,
        args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=True, max_length=None),
        accelerator=SimpleNamespace(
            parallelism_config=None, gather_for_metrics=lambda tensor: tensor, num_processes=1
        ),
        compute_loss_func=None,
        label_smoother=None,
        aux_loss_enabled=auxiliary,
        router_aux_loss_coef=coefficient,
        current_gradient_accumulation_steps=setup.gradient_accumulation,
        get_tp_size=lambda: 1,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )


def _optimizer(model: Any, setup: TrainSetup) -> Any:
    """``Trainer.create_optimizer`` with the optimizer of the run."""
    from transformers import Trainer

    stand_in = SimpleNamespace(
        model=model,
        optimizer=None,
        optimizer_cls_and_kwargs=None,
        args=SimpleNamespace(
            optim=setup.optimizer,
            optim_args=None,
            learning_rate=1e-4,
            weight_decay=0.0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            adam_epsilon=1e-8,
        ),
        get_decay_parameter_names=functools.partial(Trainer.get_decay_parameter_names, None),
        get_optimizer_cls_and_kwargs=Trainer.get_optimizer_cls_and_kwargs,
    )
    with _quiet():
        return Trainer.create_optimizer(stand_in)
