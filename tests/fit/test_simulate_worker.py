"""The process that simulates for those who must not load torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from engine.errors import UserError
from engine.fit.architecture import from_catalogue
from engine.fit.simulate_client import MODULE, Simulator
from engine.fit.simulate_worker import architecture_from, circumstances_from, setup_from
from engine.fit.types import TrainSetup

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1000,
}
PATIENCE = 120  # seconds for loading the libraries on a busy machine


def test_answers_cancellations_and_refusals() -> None:
    simulator = Simulator()
    try:
        said: list[str] = []
        first = simulator.submit(TrainSetup(batch=2, seq_len=128), SMALL, progress=said.append)
        dropped = simulator.submit(TrainSetup(batch=4, seq_len=128), SMALL)
        simulator.cancel(dropped)
        varied = simulator.submit(
            TrainSetup(batch=2, seq_len=128),
            SMALL,
            circumstances={
                "lengths": [64, 128],
                "capability": [9, 0],
                "context": 1000,
                "allocator": "expandable_segments:True",
            },
        )
        wrong = simulator.submit(TrainSetup(), {"model_type": "nonesuch"})
        found = simulator.result(first, PATIENCE)
        assert found is not None
        assert found.predictor == "simulate"
        assert found.allocated.p50 == found.binding.bytes
        assert said[0] == "building the model"
        assert "a step with texts of 128 tokens" in said
        assert simulator.result(dropped, PATIENCE) is None
        other = simulator.result(varied, PATIENCE)
        assert other is not None
        assert other.smi.p50 - other.reserved.p50 == 1000
        with pytest.raises(UserError, match="cannot build this model"):
            simulator.result(wrong, PATIENCE)
    finally:
        simulator.close()


def test_the_one_who_asks_never_loads_torch() -> None:
    script = (
        "import sys\n"
        "from engine.fit.simulate_client import Simulator\n"
        "from engine.fit.simulate.predict import simulate\n"
        "from engine.fit.simulate.trace import Trace\n"
        "Simulator().close()\n"
        "assert not {'torch', 'transformers', 'peft', 'trl'} & set(sys.modules), 'torch was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.thorough
def test_a_worker_that_dies_is_an_error_and_the_next_request_starts_another() -> None:
    simulator = Simulator()
    try:
        number = simulator.submit(TrainSetup(batch=1, seq_len=64), SMALL)
        assert simulator._process is not None
        simulator._process.kill()
        with pytest.raises(UserError, match="ended unexpectedly"):
            simulator.result(number, PATIENCE)
        again = simulator.submit(TrainSetup(batch=1, seq_len=64), SMALL)
        assert simulator.result(again, PATIENCE) is not None
    finally:
        simulator.close()


@pytest.mark.thorough
def test_a_closed_input_ends_the_worker_while_it_works() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    request = {"id": 1, "setup": {"batch": 1, "seq_len": 64}, "config": SMALL}
    out, _ = worker.communicate(json.dumps(request).encode() + b"\n", timeout=PATIENCE)
    assert worker.returncode == 0
    assert json.loads(out)["kind"] in ("cancelled", "prediction")


def test_no_answer_in_time_is_said() -> None:
    simulator = Simulator()
    try:
        number = simulator.submit(TrainSetup(batch=1, seq_len=64), SMALL)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            simulator.result(number, 0.05)
        assert time.monotonic() - started < 5
    finally:
        simulator.close()


def test_setups_and_circumstances_survive_json() -> None:
    import dataclasses

    setup = TrainSetup(quantization="nf4", lora_targets=("q_proj", "v_proj"), modules_to_save=("lm_head",))
    assert setup_from(json.loads(json.dumps(dataclasses.asdict(setup)))) == setup
    facts = from_catalogue("Qwen/Qwen3-30B-A3B")
    assert facts is not None
    assert facts.experts is not None
    assert architecture_from(json.loads(json.dumps(dataclasses.asdict(facts)))) == facts
    given = circumstances_from({"lengths": [1, 2], "allocator": "max_split_size_mb:64"})
    assert given.lengths == (1, 2)
    assert given.allocator.max_split_size == 64 << 20
