"""What CUDA kernels allocate inside, by hand from the sources the kernels name, and which kernel is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.fit.simulate.attention import attention_for
from engine.fit.simulate.autocast import Autocast
from engine.fit.simulate.device import Device
from engine.fit.simulate.kernels import cuda_kernels
from engine.fit.simulate.recorder import Recorder
from engine.fit.simulate.semantics import device_semantics

BF16 = torch.bfloat16
AMPERE, HOPPER, TURING = Device("cuda", (8, 0)), Device("cuda", (9, 0)), Device("cuda", (7, 5))


def meta(*shape: int, dtype: torch.dtype = BF16, grad: bool = False) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=grad)


def events_of(work: Callable[..., Any], *inputs: Any, scored: float = 1.0, **named: Any) -> list[int]:
    """Allocations of some work on inputs that are there already, releases as negative sizes, its result held."""
    recorder = Recorder(cuda_kernels(scored))
    with recorder:
        result = work(*inputs, **named)
        recording = recorder.take()
        del result
    sizes: list[int] = []
    out: list[int] = []
    for event in recording.events:
        if event > 0:
            sizes.append(event)
        out.append(event if event > 0 else -sizes[-event - 1 - recording.first_id])
    return out


def attend(
    device: Device, heads: int, kv_heads: int, width: int, length: int, mask: torch.Tensor | None = None
) -> tuple[list[str], torch.Tensor]:
    """Names of the attention operators that run, and the result."""
    seen: list[str] = []

    class Watch(Recorder):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "attention" in str(func):
                seen.append(str(func).removeprefix("aten._scaled_dot_product_").removesuffix(".default"))
            return super().__torch_dispatch__(func, types, args, kwargs)

    query = meta(2, heads, length, width, grad=True)
    key, value = meta(2, kv_heads, length, width), meta(2, kv_heads, length, width)
    with Watch(cuda_kernels(1.0)):
        out = attention_for(device)(
            query, key, value, mask, is_causal=mask is None, enable_gqa=heads != kv_heads
        )
        out.sum().backward()
    return seen, out


ATEN = torch.ops.aten


def test_flash_backward_sums_the_query_gradient_in_float32() -> None:
    # flash_api.cpp, mha_bwd: softmax_d [b, h, round128(s)], dq_accum [b, round128(s), h, round32(d)], dk and dv expanded
    query, key = meta(2, 8, 100, 64), meta(2, 2, 100, 64)
    lse = meta(2, 8, 100, dtype=torch.float32)
    states = (None, None, 100, 100, 0.0, True, meta(2), meta(1))
    backward = ATEN._scaled_dot_product_flash_attention_backward
    events = events_of(backward, query, query, key, key, query, lse, *states, scale=0.1)
    grads = [2 * 8 * 100 * 64 * 2, 2 * 2 * 100 * 64 * 2, 2 * 2 * 100 * 64 * 2]
    hidden = [2 * 8 * 128 * 4, 2 * 128 * 8 * 64 * 4, 2 * 100 * 8 * 64 * 2, 2 * 100 * 8 * 64 * 2]
    assert [event for event in events if event > 0] == grads + hidden
    assert sorted(-event for event in events if event < 0) == sorted(hidden)


def test_flash_backward_of_equal_heads_needs_no_expanded_gradients() -> None:
    query, lse = meta(1, 4, 128, 96), meta(1, 4, 128, dtype=torch.float32)
    states = (None, None, 128, 128, 0.0, True, meta(2), meta(1))
    backward = ATEN._scaled_dot_product_flash_attention_backward
    events = events_of(backward, query, query, query, query, query, lse, *states, scale=0.1)
    assert [event for event in events if event > 0][3:] == [4 * 128 * 4, 128 * 4 * 96 * 4]


def test_efficient_backward_has_a_workspace_for_the_query_gradient() -> None:
    # attention_backward.cu: delta [b, h, s] in float32, and workspace_size() bytes: 4 blocks of 64 x 64 floats and 16 bytes
    query, lse = meta(1, 4, 200, 64), meta(1, 4, 224, dtype=torch.float32)
    states = (meta(1), meta(1), 0.0, [True, True, True, False], True)
    backward = ATEN._scaled_dot_product_efficient_attention_backward
    events = events_of(backward, query, query, query, query, None, query, lse, *states, scale=0.1)
    made = [event for event in events if event > 0]
    # The gradient comes in heads-first layout here, so it is copied to rows-first.
    assert made == [200 * 4 * 64 * 2] * 4 + [4 * 200 * 4, 4 * (256 * 64 + 4 * 4) * 4]


@pytest.mark.parametrize(
    ("device", "heads", "kv_heads", "width", "masked", "kernel"),
    [
        (AMPERE, 8, 2, 64, False, "flash_attention"),
        (AMPERE, 8, 8, 64, True, "efficient_attention"),
        (AMPERE, 8, 8, 256, False, "flash_attention"),
        (AMPERE, 8, 8, 264, False, "efficient_attention"),
        (HOPPER, 8, 2, 128, False, "cudnn_attention"),
        (HOPPER, 8, 8, 128, True, "cudnn_attention"),
        (HOPPER, 8, 2, 256, False, "flash_attention"),
        (TURING, 8, 8, 64, False, "efficient_attention"),
    ],
)
def test_the_kernel_that_pytorch_chooses(
    device: Device, heads: int, kv_heads: int, width: int, masked: bool, kernel: str
) -> None:
    mask = meta(2, 1, 72, 72, dtype=torch.bool) if masked else None
    seen, out = attend(device, heads, kv_heads, width, 72, mask)
    assert seen == [kernel, f"{kernel}_backward"]
    assert out.shape == (2, heads, 72, width)


def test_scores_are_written_out_where_no_fused_kernel_can() -> None:
    seen, out = attend(TURING, 8, 2, 64, 72)
    assert seen == []
    assert out.shape == (2, 8, 72, 64)


def test_a_mask_becomes_additive_in_every_call() -> None:
    # convert_boolean_attn_mask_ and pad_bias in attention.cpp
    mask = meta(2, 1, 70, 70, dtype=torch.bool)
    query = meta(2, 4, 70, 64)
    events = events_of(lambda: attention_for(AMPERE)(query, query, query, mask))
    assert 2 * 70 * 70 * 2 in events
    assert 2 * 70 * 72 * 2 in events, "rows of 70 are padded to start at multiples of 8"


def test_heads_of_odd_width_are_padded_for_flash_attention() -> None:
    query = meta(1, 2, 32, 20)
    events = events_of(lambda: attention_for(AMPERE)(query, query, query, is_causal=True))
    assert events[:3] == [2 * 32 * 24 * 2] * 3


def test_a_4_bit_linear_dequantizes_its_weight_and_scales_for_a_moment() -> None:
    # bitsandbytes/backends/cuda/ops.py, _dequant_linear_fallback
    source, packed = meta(2000, 256), meta(512 * 256 // 2, 1, dtype=torch.uint8)
    scales = meta(512 * 256 // 64, dtype=torch.uint8)
    small = meta(8, dtype=torch.float32), meta(256, dtype=torch.float32), meta(dtype=torch.float32)
    linear = torch.ops.bitsandbytes.gemm_4bit.default
    events = events_of(
        linear, source, packed, [512, 256], small[0], 64, "nf4", None, scales, small[1], small[2]
    )
    assert [event for event in events if event > 0] == [8192, 8192, 512 * 256 * 2, 2000 * 512 * 2]
    assert -2000 * 512 * 2 not in events
    assert sum(events) == 2000 * 512 * 2


def test_an_8_bit_linear_sums_in_int32_then_float16_then_the_format_of_the_run() -> None:
    # bitsandbytes: int8_linear_matmul, int8_mm_dequant, .to(dtype)
    source, weight = meta(64, 256, dtype=torch.int8), meta(512, 256, dtype=torch.int8)
    scales = meta(64, dtype=torch.float32), meta(512, dtype=torch.float32)
    events = events_of(torch.ops.bitsandbytes.int8_scaled_mm.default, source, weight, *scales, dtype=BF16)
    assert [event for event in events if event > 0] == [64 * 512 * 4, 64 * 512 * 2, 64 * 512 * 2]
    assert sum(events) == 64 * 512 * 2


def test_a_boolean_mask_picks_the_stated_share() -> None:
    hidden, mask = meta(4, 100, 32), meta(4, 100, dtype=torch.bool)
    events = events_of(lambda: hidden[mask], scored=0.25)
    assert events == [100 * 2 * 8, 100 * 32 * 2, -(100 * 2 * 8)]


def test_an_ordinary_index_is_left_alone() -> None:
    hidden, rows = meta(10, 32), meta(3, dtype=torch.long)
    assert events_of(lambda: hidden[rows]) == [3 * 32 * 2]


def test_many_tokens_are_sorted_for_the_embeddings_gradient() -> None:
    backward = ATEN.embedding_dense_backward
    few, many = meta(3000, dtype=torch.long), meta(4000, dtype=torch.long)
    assert events_of(backward, meta(3000, 64), few, 1000, -1, False) == [1000 * 64 * 2]
    sorted_ = events_of(backward, meta(4000, 64), many, 1000, -1, False)
    assert sorted_[0] == 4000 * 8
    assert sum(sorted_) == 1000 * 64 * 2


def test_dropout_keeps_a_byte_an_element_on_a_card() -> None:
    source = meta(1000, grad=True)
    with device_semantics(AMPERE, padded=False):
        events = events_of(lambda: F.dropout(source, 0.1))
        assert events == [2000, 1000]
        assert events_of(lambda: F.dropout(source, 0.0)) == []


def test_autocast_casts_trained_weights_once_and_frozen_ones_every_time() -> None:
    # cached_cast in autocast_mode.cpp: float32 leaves that require a gradient
    source = meta(8, 16)
    trained = meta(32, 16, dtype=torch.float32, grad=True)
    frozen = meta(32, 16, dtype=torch.float32)

    def twice(weight: torch.Tensor) -> list[torch.Tensor]:
        with Autocast():
            return [F.linear(source, weight), F.linear(source, weight)]

    cast = 32 * 16 * 2
    assert events_of(lambda: twice(trained)).count(cast) == 1
    assert events_of(lambda: twice(frozen)).count(cast) == 2


def test_autocast_computes_norms_and_powers_in_float32() -> None:
    with Autocast():
        assert F.layer_norm(meta(2, 8), (8,), meta(8), meta(8)).dtype == torch.float32
        assert meta(2, 8).pow(2).dtype == torch.float32
        assert torch.matmul(meta(2, 8, dtype=torch.float32), meta(8, 4)).dtype == BF16
    assert F.layer_norm(meta(2, 8), (8,), meta(8), meta(8)).dtype == BF16


def test_autocast_is_there_again_when_a_layer_is_recomputed() -> None:
    autocast = Autocast()
    with autocast:
        again = autocast.resumed(
            lambda: (
                torch.is_autocast_enabled("cuda")
                or F.linear(meta(1, 4), meta(2, 4, dtype=torch.float32)).dtype
            )
        )
    assert again() == BF16


def test_libraries_that_switch_autocast_off_are_obeyed() -> None:
    with device_semantics(AMPERE, padded=False) as autocast, autocast:
        assert torch.is_autocast_enabled("meta")
        with torch.autocast("meta", enabled=False):
            assert not torch.is_autocast_enabled("meta")
            assert meta(2, 8).pow(2).dtype == BF16
        assert torch.is_autocast_enabled("meta")


def test_workspaces_of_the_matrix_library() -> None:
    # CublasHandlePool.cpp: :4096:2:16:8 before capability 9.0, 32 MiB from it on
    assert AMPERE.cublas_workspace == 2 * 4096 * 1024 + 8 * 16 * 1024
    assert HOPPER.cublas_workspace == 32 << 20
    assert Device("cpu").cublas_workspace == 0
