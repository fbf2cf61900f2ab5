"""Dataset files of every kind, and ways to damage them; the same seed gives the same damage."""

from __future__ import annotations

import gzip
import io
import json
import random
from functools import cache

_TEXTS = (
    "Hello there, how are you?",
    "Fine. \u4f60\u597d, caf\u00e9!",
    "Reset it in Settings \u2192 Account.",
    "\u05e9\u05dc\u05d5\u05dd",
    "x" * 50,
)
_PIECES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\r\n", b"\t", b"\x1b]0;owned\x07",
    b"\x1b[2J", b"\\ud800", b"\\u202e", b"null", b"true", b"NaN", b"-", b"1e999", b"9" * 400, b"[" * 1200, b'{"a":' * 1200, b"<|im_end|>",
    b"[bold]", b"\xe2\x80\xae", b"\xc3", b"\xf0\x9f", b'"role"', b'"role":"narrator"', b'"content":null', b'"content":[]', b'"messages":{}',
    b"\x1f\x8b\x08", b"PAR1", b"ARROW1", b"sk-proj-" + b"aB3" * 20, b"me@corp.org", b"=" * 30, b"\r", b"\x85", b"\xa0",
)  # fmt: skip
KINDS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "txt", "md", "jsonl.gz", "csv.gz", "jsonl.zst", "sharegpt.jsonl", "alpaca.json", "dpo.jsonl")  # fmt: skip


def rows(count: int = 6) -> list[dict[str, object]]:
    """Conversations."""
    turn = lambda role, n: {"role": role, "content": _TEXTS[n % len(_TEXTS)]}  # noqa: E731
    return [{"id": n, "messages": [turn("user", n), turn("assistant", n + 1)]} for n in range(count)]


@cache
def whole(kind: str) -> bytes:
    """A whole file of one kind."""
    pairs = [{"prompt": _TEXTS[n % 5], "completion": _TEXTS[(n + 1) % 5]} for n in range(6)]
    if kind.endswith(".gz"):
        return gzip.compress(whole(kind.removesuffix(".gz")), mtime=0)
    if kind.endswith(".zst"):
        import pyarrow

        compressed: bytes = pyarrow.compress(whole(kind.removesuffix(".zst")), "zstd", asbytes=True)
        return compressed
    if kind in ("parquet", "arrow"):
        import pyarrow
        from pyarrow import feather, parquet

        sink = io.BytesIO()
        table = pyarrow.Table.from_pylist(rows())
        parquet.write_table(table, sink) if kind == "parquet" else feather.write_feather(table, sink)
        return sink.getvalue()
    if kind == "json":
        return json.dumps(rows(), indent=1).encode()
    if kind == "alpaca.json":
        return json.dumps(
            [{"instruction": p["prompt"], "input": "", "output": p["completion"]} for p in pairs]
        ).encode()
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        lines = [mark.join(pairs[0])] + [mark.join(f'"{text}"' for text in pair.values()) for pair in pairs]
        return "\n".join(lines).encode()
    if kind in ("txt", "md"):
        return "\n\n".join(_TEXTS * 3).encode()
    made: list[object] = list(rows())
    if kind == "sharegpt.jsonl":
        names = {"user": "human", "assistant": "gpt"}
        made = [
            {"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in row["messages"]]}  # type: ignore[attr-defined]
            for row in rows()
        ]
    if kind == "dpo.jsonl":
        made = [{**pair, "chosen": "Yes, gladly.", "rejected": "No."} for pair in pairs]
    return "\n".join(json.dumps(row, ensure_ascii=index % 2 == 0) for index, row in enumerate(made)).encode()


def damaged(seed: int) -> tuple[str, bytes]:
    """Kind and content of a damaged file."""
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    packed = kind.endswith(".gz") and draw.random() < 0.5  # damage inside, or of the packing itself
    data = bytearray(whole(kind.removesuffix(".gz") if packed else kind))
    for _ in range(draw.choice((1, 1, 2, 4, 12))):
        at = draw.randrange(len(data) + 1)
        what = draw.randrange(7)
        if what == 0 and data:
            data[min(at, len(data) - 1)] = draw.randrange(256)
        elif what == 1:
            del data[at : at + draw.choice((1, 2, 10, 200))]
        elif what == 2:
            data[at:at] = draw.choice(_PIECES)
        elif what == 3:
            data[at:at] = data[draw.randrange(len(data) + 1) :][: draw.choice((5, 50, 500))]
        elif what == 4:
            del data[at:]
        elif what == 5:
            data[at : at + 4] = draw.randbytes(4)
        else:
            old, new = draw.choice(
                (
                    (b'"', b"'"),
                    (b",", b""),
                    (b"\n", b"\r"),
                    (b":", b"="),
                    (b"user", b"\x00"),
                    (b"assistant", b"user"),
                    (b"e", b"\xe9"),
                )
            )
            data = bytearray(bytes(data).replace(old, new, draw.choice((1, 3, -1))))
    return kind, gzip.compress(bytes(data), mtime=0) if packed else bytes(data)
