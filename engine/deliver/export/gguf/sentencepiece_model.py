"""``tokenizer.model`` made from ``tokenizer.json``, for converters that read only the older file.

transformers saves the newer file alone. Without the older one llama.cpp's converter gives every token the same score, so
the pieces of a word are no longer joined in the order that was learnt.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.display import printable
from engine.errors import UserError
from engine.models.chat_template import read_json

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# Pieces that no merge leads to are joined last, if at all.
_UNMERGED = -1e6


def write_sentencepiece_model(folder: Path, target: Path) -> None:
    """Write the vocabulary of a tokenizer without word splitting as a SentencePiece model.

    The score of a piece is minus the rank of the merge that makes it: both programs join the best pair first.

    Args:
        folder: It holds ``tokenizer.json``, a BPE model with ``byte_fallback``.
        target: The file to write.

    Raises:
        UserError: ``tokenizer.json`` is damaged.
        OSError: The file cannot be written.
    """
    from sentencepiece import sentencepiece_model_pb2 as protocol

    tokenizer = read_json(folder / "tokenizer.json")
    try:
        data = _model(tokenizer, protocol)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"The tokenizer is damaged: {printable(error, 100)}.",
            printable(folder / "tokenizer.json", 200),
            "Copy the file again from the model, or train again.",
        ) from None
    target.write_bytes(data)


def _model(tokenizer: dict[str, Any], protocol: Any) -> bytes:
    model = tokenizer["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    added = {token["content"]: token for token in tokenizer.get("added_tokens") or ()}
    for text, token in added.items():
        vocabulary.setdefault(text, int(token["id"]))
    texts = {number: text for text, number in vocabulary.items()}
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model.get("merges") or ()):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    unknown = model.get("unk_token")
    proto = protocol.ModelProto()
    kinds = protocol.ModelProto.SentencePiece
    for number in range(max(texts) + 1):
        text = texts.get(number)
        piece = proto.pieces.add()
        piece.piece = f"<unused-{number}>" if text is None else text
        piece.score = 0.0
        if text is None:
            piece.type = kinds.UNUSED
        elif text == unknown:
            piece.type = kinds.UNKNOWN
        elif _BYTE.fullmatch(text):
            piece.type = kinds.BYTE
        elif text in added:
            piece.type = kinds.CONTROL if added[text].get("special") else kinds.USER_DEFINED
        else:
            piece.type = kinds.NORMAL
            piece.score = float(-ranks[text]) if text in ranks else (_UNMERGED if len(text) > 1 else 0.0)
    if unknown not in vocabulary:
        # SentencePiece refuses a model without an unknown piece; this one is beyond the model's vocabulary.
        piece = proto.pieces.add()
        piece.piece, piece.type = "<finetui-unknown>", kinds.UNKNOWN
        unknown = piece.piece
    proto.trainer_spec.model_type = protocol.TrainerSpec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.vocab_size = len(proto.pieces)
    proto.trainer_spec.unk_piece = unknown
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    return bytes(proto.SerializeToString())
