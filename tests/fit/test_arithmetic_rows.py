"""Rows that nobody has seen: every one gets an answer or a reason, none stops the others."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.fit.profiles import names
from tests.bench._methods import kind_of, not_offered, quantization
from tests.bench._models import find_architecture
from tests.bench._rows import (
    Case,
    Skip,
    attention,
    card_of,
    checkpoints,
    dtype,
    measured_bytes,
    optimizer,
    read,
    sequence_length,
)
from tests.bench._stacks import profile_for
from tests.bench.vram_accuracy import arithmetic, main, score

COLUMNS = (
    "source,model,params_b,method,lora_r,target_modules,batch,seq_len,grad_ckpt,optimizer,attention,dtype,extras,gpu,"
    "metric,peak_gib_or_gb,notes,unit,outcome,tier,num_gpus"
)
# Made up to be read; the amounts of memory mean nothing.
SCORED = """
axolotl issue,llama3-8b,8,QLoRA,32,all-linear,2,2048,true,adamw_bnb_8bit,flash_attention_2,bf16,grad_accum 4,RTX 4090,max_memory_reserved,9,transformers 4.51,GB,ok,A,1
LLaMA-Factory README,Qwen2.5 7B,,LoRA,8,all,1,1k,yes,AdamW,FA2,bf16,,NVIDIA A100-SXM4-80GB,nvidia-smi,9000,2025-04,MiB,ok,A,
huggingface/trl PR,meta-llama/Llama-3.1-8B,8.03,lora,16,q_proj v_proj,4,"2,048",True,adamw_torch_fused,sdpa,bfloat16,,H100 80GB,allocated,9,trl 1.16 torch 2.13,GiB,ok,A,1
blog,mistral 7b,,full fine-tuning,,,1,512,Yes,Adafactor,eager,fp32,,8x A100 80GB,peak memory,9,,G,ok,B,
blog,phi-3-mini,,LoRA 16-bit,,attention,2,4k,1,SGD,flash-attn,fp16,,L4,max_memory_allocated,9.2 GiB,,,ok,A,1
blog,gemma-2-9b,,QLoRA (4-bit NF4),16,,1,1024-2048,on,paged_adamw_8bit,,bf16,,T4,nvml,9 GB,,,OOM,A,1
litgpt tutorial,GPT-2 XL,,full,,,1,1024,no,AdamW,,bf16-true,,A10G,memory_reserved,,,GiB,out of memory,A,1
blog,TinyLlama,,sft,,,8,1024,off,adamw_torch,sdpa,bf16-mixed,gradient_accumulation_steps=2,RTX 3090,nvidia-smi,9.1,,GiB,ok,A,1
blog,SmolLM2-1.7B,1.7,DoRA,16,q_proj,2,512,none,adamw_torch,sdpa,bf16,,RTX 4060 Ti 16GB,allocated,9,,GiB,ok,A,1
swift docs,falcon 40b,,qlora4,64,query_key_value,1,512,yes,AdamW,sdpa,bf16,,A100-80GB,nvidia-smi,9,,GiB,ok,A,1
xtuner docs,internlm2-chat-7b,7,QLoRA,64,,1,2048,yes,AdamW,flash_attention_2,fp16,,A100,nvidia-smi,9,,GiB,ok,B,1
fms-hf-tuning,ibm-granite/granite-3.1-8b-instruct,,lora,16,q_proj v_proj,4,4096,yes,adamw_torch,flash_attention_2,bfloat16,,A100-80GB,allocated,9,transformers 4.48.1,GiB,ok,A,1
torchtune recipe,Llama2-7B,,LoRA,8,q v output_proj,2,2048,yes,AdamW fused,sdpa,bf16,compile,RTX 4090,active,9,torch 2.5,GB (1e9),ok,A,1
blog,13B,13,8-bit LoRA,16,q_proj v_proj,1,512,yes,AdamW,,fp16,,RTX 4090,allocated,9,,GiB,ok,A,1
blog,,3,lora,8,,1,512,yes,,,,,,allocated,9,,GiB,ok,A,1
blog,Qwen3 0.6B,,,8,,1,512,,,,,,Radeon RX 7900 XTX 24GB,allocated,9,,GiB,ok,A,1
deepspeed blog,Llama 2 13B,,full,,,1,2048,yes,AdamW,,bf16,ZeRO-3,4x A100 80GB,nvidia-smi,9,2024-01,GiB,ok,A,4
blog,Mixtral-8x7B,,QLoRA,16,,1,512,yes,paged_adamw_32bit,,bf16,,RTX 6000 Ada,nvidia-smi,9,transformers 4.40,GiB,ok,A,1
blog,pythia-2.8b,,full,,,1,2048,yes,Lion 8bit,,bf16,Liger,A6000,reserved,9,,GiB,ok,A,1
blog,llama-7b,7,lora,8,down_proj 🦙,1,512,vielleicht,???,???,int7,,GPU,???,8 bananas,,bananas,ok,Z,zwei
blog,Llama-3-70B,70,QLoRA,16,all-linear,1,8192,yes,AdamW,,bf16,FSDP,2x RTX 3090,nvidia-smi,,,GiB,failed,A,2
""".strip()
LEFT_OUT = """
unslothai/unsloth docs,llama3-8b,8,QLoRA,16,,2,2048,unsloth,adamw_8bit,,bf16,,T4,nvidia-smi,9.0,,GB,ok,A,1
blog,llama-7b,7,GPTQ LoRA,16,,1,512,yes,AdamW,,fp16,,A100,allocated,9,,GiB,ok,A,1
blog,,,lora,8,,1,512,yes,,,,,,allocated,9,,GiB,ok,A,1
blog,t5-small,,full,,,1,512,yes,,,,,,allocated,9,,GiB,ok,A,1
blog,Qwen3 0.6B,,,,,,,,,,,,,,,,,,,
deepspeed blog,Llama 2 13B,,full,,,1,2048,yes,AdamW,,bf16,ZeRO-2 optimizer offload,4x A100 80GB,nvidia-smi,9,2024-01,GiB,ok,A,4
blog,gpt2,,full,,,1,4096,no,AdamW,,fp32,,T4,allocated,9,,GiB,ok,A,1
blog,llama-7b,1e400,lora,-5,,0,512,yes,AdamW,,fp16,,,allocated,nan,,GiB,ok,A,1
blog,llama-7b,7,lora,99999999999,,1,999999999999,yes,AdamW,,fp16,,,allocated,9,,GiB,ok,A,1
blog,llama-7b,7,LoRA-FA,8,,1,512,yes,AdamW,,fp16,,,allocated,9,,GiB,ok,A,1
""".strip()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(f"{COLUMNS}\n{text}")))


def case(text: str, number: int) -> Case:
    found = read(rows(text)[number])
    assert isinstance(found, Case)
    return found


def test_rows_written_in_other_ways_are_scored() -> None:
    found = score(rows(SCORED), arithmetic)
    assert len(found.rows) == len(rows(SCORED))
    assert all(not line["skipped"] for line in found.summary)


def test_a_row_that_cannot_be_scored_says_why() -> None:
    found = score(rows(LEFT_OUT), arithmetic)
    assert found.rows == []
    skipped = sum(sum(line["skipped"].values()) for line in found.summary)
    assert skipped == len(rows(LEFT_OUT))
    assert not any(reason.startswith("failed") for line in found.summary for reason in line["skipped"])


def test_the_output_has_one_line_a_metric_and_tier_and_one_for_lack_of_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f"{COLUMNS}\n{SCORED}\n{LEFT_OUT}\n", encoding="utf-8")
    assert main([str(file), "--predictor", "arithmetic"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    *metrics, memory = lines
    for line in metrics:
        assert list(line) == ["metric", "tier", "rows", "scored", "skipped", "mape", "median", "p95", "max"]
        assert line["rows"] == line["scored"] + sum(line["skipped"].values())
    assert memory["metric"] == "oom"
    assert set(memory["confusion"]) == {"oom", "ok"}
    assert sum(line["rows"] for line in lines) == 31


def test_what_a_row_says_reaches_the_setup() -> None:
    axolotl = case(SCORED, 0)
    assert (axolotl.architecture.name, axolotl.profile.name) == ("meta-llama/Meta-Llama-3-8B", "hf-4.52")
    assert axolotl.setup.optimizer == "adamw_8bit"
    assert (axolotl.setup.quantization, axolotl.setup.gradient_accumulation) == ("nf4", 4)
    assert case(SCORED, 1).setup.seq_len == 1024
    assert case(SCORED, 2).profile.loss == "trl_fused"
    eight = case(SCORED, 3)
    assert (eight.setup.num_gpus, eight.setup.sharding, eight.setup.dtype) == (8, "ddp", "float32")
    assert case(SCORED, 5).setup.seq_len == 2048
    assert not case(SCORED, 5).fitted
    mixed = case(SCORED, 7).setup
    assert (mixed.tuning, mixed.dtype, mixed.autocast, mixed.gradient_checkpointing) == (
        "full", "float32", True, False,
    )  # fmt: skip
    assert case(SCORED, 13).setup.quantization == "int8"
    assert case(SCORED, 16).setup.sharding == "zero3"
    liger = case(SCORED, 18)
    assert (liger.profile.loss, liger.profile.fused_norm, liger.setup.optimizer) == (
        "liger",
        True,
        "lion_8bit",
    )


@pytest.mark.parametrize(
    ("name", "model_type", "billions", "vocab"),
    [
        ("Llama-3.1-8B", "llama", 8.03, 128_256),
        ("llama3_8b", "llama", 8.03, 128_256),
        ("unsloth/llama-3-8b-bnb-4bit", "llama", 8.03, 128_256),
        ("Llama 2 7B", "llama", 6.74, 32_000),
        ("llama 33b", "llama", 32.53, 32_000),
        ("mistral 7b", "mistral", 7.24, 32_000),
        ("Mixtral 8x7B", "mixtral", 46.7, 32_000),
        ("Qwen2.5 7B", "qwen2", 7.62, 152_064),
        ("qwen1.5-7b", "qwen2", 7.72, 151_936),
        ("phi-3-mini", "phi3", 3.82, 32_064),
        ("gemma-2-9b", "gemma2", 9.24, 256_000),
        ("gemma3 4b", "gemma3", 4.3, 262_208),
        ("GPT-2 XL", "gpt2", 1.56, 50_257),
        ("TinyLlama", "llama", 1.1, 32_000),
        ("smollm2 360m", "llama", 0.3618, 49_152),
        ("falcon 40b", "falcon", 41.3, 65_024),
        ("granite-34b-code", "gpt_bigcode", 33.72, 49_152),
        ("command-r", "cohere", 34.98, 256_000),
        ("Nous-Hermes-2-Mistral-7B-DPO", "mistral", 7.24, 32_000),
    ],
)
def test_names_in_other_spellings(name: str, model_type: str, billions: float, vocab: int) -> None:
    found = find_architecture(name, "")
    assert (found.model_type, found.vocab) == (model_type, vocab)
    assert found.params / 1e9 == pytest.approx(billions, rel=0.002)


def test_a_size_alone_is_a_model_with_a_wide_interval() -> None:
    assert find_architecture("some new model 13B", "").spread >= 50
    assert find_architecture("", "13").params == pytest.approx(13e9)
    with pytest.raises(UserError):
        find_architecture("some new model", "")


def test_units_lengths_formats_and_methods() -> None:
    assert measured_bytes("9.5", "GiB") == int(9.5 * 2**30)
    assert measured_bytes("9.5", "GB (1e9)") == 9_500_000_000
    assert measured_bytes("9500", "") == 9500 * 2**20
    assert measured_bytes("~9.5 GB", "") == 9_500_000_000
    assert measured_bytes("n/a", "GiB") is None
    assert [sequence_length(text) for text in ("2k", "1,024", "512-2048", "~4x758", "4096 (max)", "?")] == [
        2048, 1024, 2048, 758, 4096, None,
    ]  # fmt: skip
    assert [dtype(text) for text in ("bf16", "fp16", "fp32", "16-mixed", "")] == [
        ("bfloat16", True), ("float16", True), ("float32", False), ("float32", True), ("bfloat16", True),
    ]  # fmt: skip
    assert [kind_of(text) for text in ("full ft", "QLoRA (nf4)", "lora 8bit", "LoRA r=16", "DoRA", "oft")] == [
        "full", "qlora", "qlora", "lora", "lora", None,
    ]  # fmt: skip
    assert [optimizer(text) for text in ("Paged AdamW 8-bit", "AdamW fused", "adamw_torch_4bit", "Lion")] == [
        "paged_adamw_8bit", "adamw_torch_fused", "adamw_torch_4bit", "lion_32bit",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "kind", "held"),
    [
        ("LLM.int8() LoRA", "qlora", "int8"), ("lora8bit", "qlora", "int8"), ("QLoRA r=8", "qlora", "nf4"),
        ("QLoRA rank 8, fp4", "qlora", "fp4"), ("4-bit", "qlora", "nf4"), ("FSDP-QLoRA", "qlora", "nf4"),
        ("QLoRA 4bit + gradient checkpointing", "qlora", "nf4"), ("LoRA, all linear layers", "lora", "none"),
        ("LoRA + FSDP", "lora", "none"), ("lora rank 64", "lora", "none"), ("full parameter finetune (AMP)", "full", "none"),
        ("full, fsdp", "full", "none"), ("continued pretraining", "full", "none"), ("SFT", "full", "none"),
        ("adapter_v2", None, "none"), ("LoRA-XS", None, "none"), ("MoRA", None, "none"), ("prompt tuning", None, "none"),
        ("linear", None, "none"),
    ],
)  # fmt: skip
def test_methods_in_many_words(method: str, kind: str | None, held: str) -> None:
    assert kind_of(method) == kind
    assert quantization(method, method.lower()) == held
    assert (not_offered(method, "", "", "") is None) == (kind is not None)


def test_only_what_finetui_does_not_have_is_left_out() -> None:
    assert not_offered("lora", "", "adamw", "a generalisation study of camels, no offload") is None
    assert not_offered("lora", "", "", "", "activation offloading, cpu offload") is not None
    assert not_offered("full", "", "DeepSpeedCPUAdam", "") is not None
    assert not_offered("full", "", "CAME", "") == "method not offered: came"
    assert "without sharding" in str(not_offered("lora", "device_map=auto", "", ""))


def told(**cells: str) -> Case:
    found = read(
        {"model": "meta-llama/Llama-3.1-8B", "batch": "1", "seq_len": "512", "peak_gib_or_gb": "9"} | cells
    )
    assert isinstance(found, Case)
    return found


def test_how_gpus_share_a_model_is_read_wherever_it_is_said() -> None:
    assert told(method="full", num_gpus="8", notes="FSDP full shard").setup.sharding == "fsdp"
    assert told(method="full, DeepSpeed ZeRO-3", gpu="4x H100").setup.sharding == "zero3"
    assert told(method="full", num_gpus="8", extras="SHARD_GRAD_OP").setup.sharding == "zero2"
    assert told(method="full", num_gpus="8", notes="2024").setup.sharding == "ddp"
    card = card_of("8xH100")
    assert card is not None
    assert card.name == "H100 80GB"


def test_zero_keeps_a_part_of_the_states_on_each_gpu() -> None:
    two, eight = (arithmetic(told(method="full", num_gpus=number, extras="ZeRO-2")) for number in ("2", "8"))
    states = 12 * 8.03e9
    assert two.reserved.p50 - eight.reserved.p50 == pytest.approx(states / 2 - states / 8, rel=0.02)
    assert eight.reserved.p50 < 1.1 * eight.allocated.p50


def test_float16_and_llama_factory_train_float32_weights() -> None:
    assert told(method="full", dtype="fp16").setup.dtype == "float32"
    assert told(method="lora", dtype="fp16").setup.dtype == "float16"
    assert told(method="full", dtype="bf16", source="hiyouga/LLaMA-Factory").setup.dtype == "float32"
    assert told(method="full", dtype="pure bf16", source="hiyouga/LLaMA-Factory").setup.dtype == "bfloat16"


def test_trl_says_which_transformers_and_prepares_quantized_models() -> None:
    assert profile_for("trl 0.9 docs", "", "").name == "hf-4.45"
    assert profile_for("trl 1.2 docs", "", "").name == "hf-5"
    assert profile_for("huggingface/trl", "trl 0.13", "").norms_float32_quantized
    assert not profile_for("huggingface/trl", "trl 0.13", "").embeddings_float32_quantized
    assert profile_for("a notebook", "prepare_model_for_kbit_training", "").embeddings_float32_quantized


def test_cells_that_say_no() -> None:
    assert [checkpoints(text, "") for text in ("n", "?", "N/A", "none", "on", "unsloth")] == [False] * 4 + [
        True
    ] * 2
    assert [attention(text) for text in ("FA3", "no flash", "without flash attention", "math")] == [
        "flash_attention_2", "sdpa", "sdpa", "eager",
    ]  # fmt: skip
    assert told(target_modules="['q_proj','v_proj']").setup.lora_targets == ("q_proj", "v_proj")


@given(st.dictionaries(st.sampled_from(COLUMNS.split(",")), st.text(max_size=30)))
def test_any_row_is_a_case_or_a_reason(row: dict[str, str]) -> None:
    found = read(row)
    assert isinstance(found, Case | Skip)
    assert isinstance(found, Case) or found.reason


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_words_call_for_some_profile(source: str, notes: str, extras: str) -> None:
    assert profile_for(source, notes, extras).name in names()
