"""TRL's loss for SFT, without making the device wait at every batch to count things."""

from __future__ import annotations

from typing import Any

import torch


class LeanLoss:
    """Mixed into an SFT trainer: the same loss from TRL's fused head, which never holds the logits of a whole batch.

    TRL fetches three numbers from the device for every batch, and a GPU idles meanwhile. Here sums stay on the device until they are
    logged. They also make the logged accuracy and entropy means over all tokens, as the loss is, and not means of means.
    """

    args: Any
    model: Any
    accelerator: Any
    aux_loss_enabled: bool
    router_aux_loss_coef: float
    _metrics: dict[str, Any]
    _total_train_tokens: int
    current_gradient_accumulation_steps: int

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a batch: the sum over its learnt tokens divided by those of the whole step."""
        tokens = inputs.pop("num_tokens", None)
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        mode = "train" if self.model.training else "eval"
        if tokens is None:
            tokens = (
                inputs["attention_mask"].sum() if "attention_mask" in inputs else inputs["input_ids"].numel()
            )
        extra = {"output_router_logits": True} if self.aux_loss_enabled else {}
        outputs = model(**{**inputs, "use_cache": False}, fused_lm_head=True, **extra)
        per_token = -outputs.log_probs
        if self.args.loss_type == "dft":
            per_token = per_token * outputs.log_probs.exp().detach()
        valid = outputs.label_mask.sum()
        count = valid if num_items_in_batch is None else num_items_in_batch
        loss = per_token.sum() / torch.as_tensor(count).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = (
                loss * self.accelerator.num_processes
            )  # the tokens of all processes were counted, and their gradients averaged
        if self.aux_loss_enabled:
            batches = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / batches
        with torch.no_grad():
            sums = [outputs.entropy.sum(), outputs.is_top1.sum(), valid, outputs.entropy.new_tensor(1.0)]
            sums.append(torch.as_tensor(tokens if mode == "train" else 0, device=loss.device))
            sums.append(outputs.aux_loss if self.aux_loss_enabled else torch.zeros_like(valid))
            self._metrics[mode]["sums"].append(torch.stack([part.detach().double() for part in sums]))
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Fetch the sums, once, and log what they tell."""
        mode = "train" if self.model.training else "eval"
        sums = self._metrics[mode].pop("sums", None)
        if sums:
            total = self.accelerator.reduce(torch.stack(sums).sum(0), reduction="sum")
            entropy, right, valid, batches, tokens, aux = total.tolist()
            self._total_train_tokens += int(tokens)
            prefix = "eval_" if mode == "eval" else ""
            told = {"entropy": entropy / max(valid, 1), "mean_token_accuracy": right / max(valid, 1)}
            told["num_tokens"] = float(self._total_train_tokens)
            if self.aux_loss_enabled:
                told["aux_loss"] = aux / batches
            logs.update({prefix + key: value for key, value in told.items()})
        super().log(logs, start_time)  # type: ignore[misc]
