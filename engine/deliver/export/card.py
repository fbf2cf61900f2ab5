"""README.md of an export: what it is, what it learnt from, how well it did, how to run it. Nothing private gets in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from engine.advise.objectives import OBJECTIVES
from engine.config.schema import RunConfig, Source
from engine.data.sources import is_hub_id
from engine.deliver.export.base import hub_id, shown_name
from engine.deliver.export.job import Job
from engine.display import duration, printable
from engine.hub.cache import COMMIT
from engine.hub.names import parse
from engine.run import atomic
from engine.run.comparing import result_of

Form = Literal["adapter", "merged", "gguf"]
_TITLES = {"adapter": "LoRA adapter", "merged": "merged model", "gguf": "GGUF"}
_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
_MARKDOWN = "\\`*_{}[]()<>#|!~&$"


def write_card(job: Job, into: Path, form: Form) -> None:
    """Write README.md into an export."""
    (into / "README.md").write_text(card(job, form), encoding="utf-8")


def card(job: Job, form: Form) -> str:
    """The model card.

    Args:
        job: What is exported.
        form: As what.
    """
    config = job.trained.config
    objective = OBJECTIVES[config.method.objective]
    base = shown_name(job.trained)
    parts = [
        _metadata(job, form),
        f"# {plain(job.run.name)}: {_TITLES[form]}\n",
        f"{plain(base)} after training with finetui ({plain(objective.title)}). "
        f"It was taken from {plain(job.trained.words)}.\n",
        f"## Data\n\n{_data(config)}",
        f"## Settings\n\n{_table(_settings(config))}",
        f"## Results\n\n{_results(job)}",
        f"## How to run it\n\n{_usage(job, form)}",
    ]
    return "\n".join(parts)


def plain(text: object, limit: int = 200) -> str:
    """A foreign string as plain words in Markdown: no markup, no line breaks, no control characters."""
    return "".join(f"\\{char}" if char in _MARKDOWN else char for char in printable(text, limit))


def talks(objective: str) -> bool:
    """Whether a model trained for this answers; a reward model scores answers instead."""
    return all(about.talks for about in OBJECTIVES.values() if about.id == objective)


def vllm_command(base: str, adapter: str, config: Mapping[str, object]) -> str:
    """How vLLM serves a base with an adapter; empty where it cannot (vllm/lora/peft_helper.py and vllm/config/lora.py there).

    Args:
        base: Name or folder of the base.
        adapter: Folder of the adapter.
        config: PEFT's settings of the adapter.
    """
    rank = config.get("r")
    patterns = config.get("rank_pattern")
    ranks = [rank, *(patterns.values() if isinstance(patterns, Mapping) else ())]
    largest = max([16, *(one for one in ranks if isinstance(one, int))])
    whole = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "target_parameters")
    if largest > 512 or any(config.get(name) for name in whole):
        return ""
    highest = 1 << (largest - 1).bit_length()
    more = f" --max-lora-rank {highest}" if highest > 16 else ""
    return f"vllm serve {shlex.quote(base)} --enable-lora{more} --lora-modules tuned={shlex.quote(adapter)}"


def _metadata(job: Job, form: Form) -> str:
    """The block that the Hub reads. JSON strings are YAML strings, so nothing foreign can break out of them."""
    config = job.trained.config
    tuning = {"lora": "lora", "full": "full-fine-tuning", "freeze": "last-layers"}[config.method.tuning]
    datasets = [parse(source.path).id for source in config.data.train if is_hub_id(source.path)]
    talks = OBJECTIVES[config.method.objective].talks
    fields: dict[str, object] = {"library_name": _LIBRARIES[form]}
    base = hub_id(job.trained)
    if base is not None:
        fields["base_model"] = base
        fields["base_model_relation"] = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}[
            form
        ]
    fields["pipeline_tag"] = "text-generation" if talks else "text-classification"
    fields["tags"] = ["finetui", config.method.objective, tuning]
    if datasets:
        fields["datasets"] = datasets
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---\n"])


def _data(config: RunConfig) -> str:
    lines = [f"- {plain(_source(source))}" for source in config.data.train]
    held = (
        "Held out for evaluation: " + ", ".join(plain(_source(source)) for source in config.data.eval) + "."
        if config.data.eval
        else f"{config.data.eval_fraction:.0%} of the rows were held out for evaluation."
    )
    return "\n".join([*lines, "", held, ""])


def _source(source: Source) -> str:
    """Hub datasets by their id; of a file only its name, as the rest of a path is private."""
    if is_hub_id(source.path):
        more = "/".join(part for part in (source.config, source.split) if part)
        return f"{parse(source.path).id}{f' ({more})' if more else ''}"
    return Path(source.path).name


def _settings(config: RunConfig) -> dict[str, object]:
    training, model, lora = config.training, config.model, config.lora
    rows: dict[str, object] = {"objective": config.method.objective, "tuning": config.method.tuning}
    if config.method.tuning == "lora":
        targets = lora.lora_target_modules
        rows |= {
            "rank (lora_r)": lora.lora_r,
            "lora_alpha": lora.lora_alpha,
            "layers": targets if isinstance(targets, str) else ", ".join(targets),
        }
        rows |= {name: "yes" for name in ("use_dora", "use_rslora") if getattr(lora, name)}
    if model.load_in_4bit or model.load_in_8bit:
        rows["base while training"] = "4-bit" if model.load_in_4bit else "8-bit"
    batch = (training.per_device_train_batch_size or 1) * (training.gradient_accumulation_steps or 1)
    rows |= {
        "dtype": model.dtype,
        "learning rate": training.learning_rate,
        "epochs": training.num_train_epochs if training.max_steps < 0 else None,
        "steps": training.max_steps if training.max_steps > 0 else None,
        "conversations a step": batch * (training.num_processes or 1),
        "max_length": training.max_length,
        "seed": training.seed,
    }
    if COMMIT.fullmatch(model.model_revision):
        rows["commit of the base"] = model.model_revision
    return {name: value for name, value in rows.items() if value is not None}


def _table(rows: dict[str, object]) -> str:
    lines = [f"| {plain(name)} | {plain(value)} |" for name, value in rows.items()]
    return "\n".join(["| Setting | Value |", "|---|---|", *lines, ""])


def _results(job: Job) -> str:
    found = result_of(job.run)
    rows: dict[str, object] = {
        "steps": found.step or None,
        "last training loss": None if found.loss is None else f"{found.loss:.4f}",
        "loss on held-out rows": None if found.eval_loss is None else f"{found.eval_loss:.4f}",
        "time": duration(found.seconds) if found.seconds else None,
    }
    if found.measure not in (None, "eval_loss") and found.best is not None:
        rows[f"best {found.measure}"] = f"{found.best:.4f} (step {found.best_step})"
    rows = {name: value for name, value in rows.items() if value is not None}
    return _table(rows).replace("| Setting |", "| Measure |") if rows else "Nothing was measured.\n"


def _usage(job: Job, form: Form) -> str:
    config = job.trained.config
    if form == "gguf":
        return "See the commands that finetui printed, or: `llama-cli -m FILE.gguf`, `ollama create NAME -f Modelfile`.\n"
    # The name comes from a run.yaml or a folder: quoted for Python and for the shell, it stays a name.
    name = printable(shown_name(job.trained), 200)
    if hub_id(job.trained) is None:
        name = f"path/to/{name}"
    base = json.dumps(name)
    here = '"."'
    scores = not OBJECTIVES[config.method.objective].talks
    auto = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    extra = ", num_labels=1" if scores else ""
    load = (
        f"from peft import PeftModel\nfrom transformers import {auto}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({here})\n"
        f"model = {auto}.from_pretrained({base}{extra})\n"
        f"model.resize_token_embeddings(max(len(tokenizer), model.get_input_embeddings().weight.shape[0]))\n"
        f"model = PeftModel.from_pretrained(model, {here})\n"
        if form == "adapter"
        else f"from transformers import {auto}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({here})\nmodel = {auto}.from_pretrained({here})\n"
    )
    if scores:
        ask = 'score = model(**tokenizer("...", return_tensors="pt")).logits[0, 0]\n'
    elif config.method.objective == "cpt":
        ask = (
            'inputs = tokenizer("Once upon a time", return_tensors="pt")\n'
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))\n"
        )
    else:
        ask = (
            'messages = [{"role": "user", "content": "Hello!"}]\n'
            "inputs = tokenizer.apply_chat_template(\n"
            '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True\n)\n'
            "out = model.generate(**inputs, max_new_tokens=200)\n"
            'print(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))\n'
        )
    text = f"With transformers, in this folder:\n\n```python\n{load}\n{ask}```\n"
    if not scores:
        settings = atomic.read_json(job.trained.path / "adapter_config.json") or {}
        serve = vllm_command(name, ".", settings) if form == "adapter" else "vllm serve ."
        text += f"\nAs a server with vLLM:\n\n```sh\n{serve}\n```\n" if serve else ""
    return text
