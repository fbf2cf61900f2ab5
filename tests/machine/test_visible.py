"""The rules of CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys

import pytest

from engine.machine import Gpu
from engine.machine.visible import visible_positions
from tests.fakes.nvml import REPOSITORY

CARDS = [Gpu(i, f"GPU-{i}abc-{i}", f"card {i}", card_uuid=f"GPU-{i}abc-{i}") for i in range(4)]
# Card 1 is cut into two slices; cards 0 and 2 are whole.
MIXED = [
    Gpu(0, "GPU-0abc", "card", card_uuid="GPU-0abc"),
    Gpu(1, "MIG-1abc", "slice", mig_mode=True, mig_index=0, card_uuid="GPU-1abc"),
    Gpu(1, "MIG-2abc", "slice", mig_mode=True, mig_index=1, card_uuid="GPU-1abc"),
    Gpu(2, "GPU-2abc", "card", card_uuid="GPU-2abc"),
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (0, 1, 2, 3)),
        ("", ()),
        (" ", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("2", (2,)),
        ("3,0", (3, 0)),
        (" 3 , 0 ", (3, 0)),
        ("0,-1,2", (0,)),
        ("0,7,2", (0,)),
        ("1,2,1", ()),
        ("1cards,2", (1, 2)),
        ("GPU-2abc-2", (2,)),
        ("GPU-3,GPU-1", (3, 1)),
        ("GPU-3,GPU-nothing,GPU-1", (3,)),
        ("GPU-3,0", (3,)),
        ("GPU-", ()),
        ("GPU-1,GPU-1", ()),
    ],
)
def test_whole_cards(value: str | None, expected: tuple[int, ...]) -> None:
    assert visible_positions(value, CARDS) == expected


@pytest.mark.parametrize(
    ("value", "driver", "expected"),
    [
        (None, "535.129.03", (1,)),
        (None, "570.124.06", (0, 1, 2, 3)),
        ("1", "535.129.03", (1,)),
        ("1", "570.124.06", (1, 2)),
        ("0", "535.129.03", (0,)),
        ("MIG-2abc", "535.129.03", (2,)),
        ("MIG-2abc,MIG-1abc", "535.129.03", (2,)),
        ("MIG-2abc,MIG-1abc", "570.124.06", (2, 1)),
        ("GPU-1abc", "570.124.06", (1, 2)),
        ("MIG-9", "570.124.06", ()),
        ("2,0", None, (3, 0)),
    ],
)
def test_slices(value: str | None, driver: str | None, expected: tuple[int, ...]) -> None:
    assert visible_positions(value, MIXED, driver) == expected


TORCH = """
import json, os, sys
import torch.cuda
answers = []
for value in json.load(sys.stdin):
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    answers.append(torch.cuda._parse_visible_devices())
json.dump(answers, sys.stdout)
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_numbers_are_read_as_torch_reads_them() -> None:
    rng = random.Random(5)
    pieces = ["0", "1", "2", "3", "4", "12", "-1", "+2", "1x", "x1", "", " 2", "3 ", "2.5", "1gpu2"]
    values = [",".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(400)]
    done = subprocess.run(
        [sys.executable, "-c", TORCH],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    for value, numbers in zip(values, json.loads(done.stdout), strict=True):
        # torch cuts its list at the first number without a card later on (_device_count_nvml).
        known = next((place for place, number in enumerate(numbers) if number >= len(CARDS)), len(numbers))
        assert visible_positions(value, CARDS) == tuple(numbers[:known]), value
