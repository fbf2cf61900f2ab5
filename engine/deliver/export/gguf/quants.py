"""The number formats of GGUF files: what they are called, how large they make a model, and which one to take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.display import printable
from engine.errors import UserError


@dataclass(frozen=True, slots=True)
class Quant:
    """One number format.

    Attributes:
        name: As in file names and in ``--quant``.
        ftype: llama.cpp's number for it (``llama_ftype`` in llama.h).
        bits: Bits a weight of the layers takes on average; measured over llama.cpp's mixtures, rounded up.
        odd_bits: The same where rows are no multiple of 256 numbers, which the K formats need.
        help: What it is good for.
    """

    name: str
    ftype: int
    bits: float
    odd_bits: float
    help: str

    @property
    def is_plain(self) -> bool:
        """16-bit numbers, which the converter writes by itself."""
        return self.name in ("F16", "BF16")


# Bits from the block layouts in ggml-common.h and the mixtures in llama-quant.cpp: a file names its main format, and
# holds parts of attention and feed-forward in the next better one.
QUANTS = (
    Quant("F16", 1, 16, 16, "16 bits: as good as the merged model, the base of every smaller one"),
    Quant("BF16", 32, 16, 16, "16 bits as models are stored: exact, slower than F16 on some machines"),
    Quant("Q8_0", 7, 8.5, 8.5, "8 bits: nearly no loss, half the size"),
    Quant("Q6_K", 18, 6.57, 8.5, "6 bits: very small loss"),
    Quant("Q5_K_M", 17, 5.8, 6.4, "5 bits: small loss"),
    Quant("Q5_K_S", 16, 5.6, 6.1, "5 bits, a little smaller"),
    Quant("Q5_0", 8, 5.6, 5.6, "5 bits, an older format"),
    Quant("Q5_1", 9, 6.1, 6.1, "5 bits, an older format, a little better"),
    Quant("Q4_K_M", 15, 4.95, 5.8, "4 bits: what most people use"),
    Quant("Q4_K_S", 14, 4.75, 5.6, "4 bits, a little smaller"),
    Quant("Q4_0", 2, 4.65, 4.65, "4 bits, an older format, fast on phones and ARM"),
    Quant("Q4_1", 3, 5.1, 5.1, "4 bits, an older format, a little better"),
    Quant("Q3_K_L", 13, 4.4, 5.0, "3 bits, the largest: visible loss"),
    Quant("Q3_K_M", 12, 4.1, 4.9, "3 bits: visible loss"),
    Quant("Q3_K_S", 11, 3.7, 4.7, "3 bits, the smallest: clear loss"),
    Quant("Q2_K", 10, 3.4, 4.7, "2 bits: strong loss, for models that do not fit otherwise"),
)
NAMES = tuple(quant.name for quant in QUANTS)
DEFAULT = ("Q4_K_M",)
_TABLE_BITS, _ODD_TABLE_BITS = 6.5625, 8.5  # embeddings and output stay in Q6_K, or Q8_0 where rows are odd


def find_quant(name: str) -> Quant:
    """The format of this name, in any spelling such as ``q4_k_m`` or ``Q4-K-M``.

    Raises:
        UserError: There is none.
    """
    wanted = name.strip().upper().replace("-", "_")
    for quant in QUANTS:
        if wanted == quant.name:
            return quant
    import difflib

    near = difflib.get_close_matches(wanted, NAMES, 1)
    raise UserError(
        f"There is no number format {printable(name, 40)!r} for GGUF files.",
        "--quant",
        f"Did you mean {near[0]}?" if near else f"Choose one or more of: {', '.join(NAMES)}",
    )


def find_quants(names: tuple[str, ...]) -> tuple[Quant, ...]:
    """The formats asked for, each once, in the order asked; the usual one where none is named.

    Raises:
        UserError: One of them does not exist.
    """
    return tuple(dict.fromkeys(find_quant(name) for name in names or DEFAULT))


def file_name(run: str, quant: str) -> str:
    """Such as ``owl-Q4_K_M.gguf``, without characters that a shell or another system would stumble over."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", run).strip("-.") or "model"
    return f"{stem}-{quant}.gguf"


def file_bytes(quant: Quant, params: int, tables: int, hidden: int) -> int:
    """Estimated size of a file, at the upper end.

    Args:
        quant: Its format.
        params: Weights of the model.
        tables: Those of them in embeddings and output matrix.
        hidden: Width of the layers.
    """
    odd = hidden % 256 != 0
    bits = quant.odd_bits if odd else quant.bits
    table_bits = max(bits, _ODD_TABLE_BITS if odd else _TABLE_BITS) if bits < 16 else 16
    # Metadata: some 40 bytes a token, and norms in 32 bits.
    return (
        int((max(0, params - tables) * bits + tables * table_bits) / 8)
        + 40 * tables // max(1, hidden)
        + (1 << 20)
    )
