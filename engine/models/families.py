"""What the names of model families mean: the tables behind :mod:`engine.models.naming`.

Naming follows no standard, so these are facts about families, each as a pattern over the lower-case name without
its owner and with ``_`` written as ``-``. Earlier entries win.
"""

from __future__ import annotations

# (pattern, family); \1 is filled with the version found in the name.
FAMILIES: tuple[tuple[str, str], ...] = (
    (r"deepseek-r1-(?:\d+-)?(?:distill|qwen|llama)", "DeepSeek-R1-Distill"),
    (r"deepseek-(v\d(?:\.\d)?|r1|coder|llm|math|moe)", r"DeepSeek-\1"),
    (r"tulu", "Tulu"),
    (r"hermes", "Hermes"),
    (r"nemotron", "Nemotron"),
    (r"tiny-?llama", "TinyLlama"),
    (r"open-?llama", "OpenLLaMA"),
    (r"code-?llama", "Code Llama"),
    (r"llama-?(3\.2)-\d+b-vision", r"Llama \1 Vision"),
    (r"llama-?(\d(?:\.\d)?)(?![\d.]*[bm]\b)", r"Llama \1"),
    (r"^llama-\d+b", "LLaMA 1"),
    (r"mixtral", "Mixtral"),
    (r"mathstral", "Mathstral"),
    (r"mistral-nemo", "Mistral Nemo"),
    (r"mistral-small", "Mistral Small"),
    (r"mistral-large", "Mistral Large"),
    (r"ministral-3", "Ministral 3"),
    (r"ministral", "Ministral"),
    (r"magistral", "Magistral"),
    (r"devstral", "Devstral"),
    (r"pixtral", "Pixtral"),
    (r"zephyr", "Zephyr"),
    (r"mistral", "Mistral 7B"),
    (r"qwq", "Qwen2.5"),
    (r"qwen-?(\d(?:\.\d)?)-(vl|coder|math|omni|next|audio|moe|embedding|reranker)", r"Qwen\1-\2"),
    (r"qwen-?(\d(?:\.\d)?)(?![\d.]*[bm]\b)", r"Qwen\1"),
    (r"qwen", "Qwen"),
    (r"codegemma", "CodeGemma"),
    (r"medgemma", "MedGemma"),
    (r"paligemma-?(\d)", r"PaliGemma \1"),
    (r"gemma-(3n)", r"Gemma \1"),
    (r"gemma-([234])(?!b)", r"Gemma \1"),
    (r"gemma", "Gemma"),
    (r"phi-?(\d(?:\.\d)?)-?(mini|moe|multimodal|vision)", r"Phi-\1-\2"),
    (r"phi-1[-.]5", "Phi-1.5"),
    (r"phi-?(\d(?:\.\d)?)", r"Phi-\1"),
    (r"falcon-?3", "Falcon3"),
    (r"falcon-?(h1|e)", r"Falcon-\1"),
    (r"falcon", "Falcon"),
    (r"smolvlm(2?)", r"SmolVLM\1"),
    (r"smollm([23]?)", r"SmolLM\1"),
    (r"olmoe", "OLMoE"),
    (r"olmo-?([23])", r"OLMo \1"),
    (r"olmo", "OLMo"),
    (r"granite-(\d\.\d)", r"Granite \1"),
    (r"granite", "Granite"),
    (r"gpt-oss", "gpt-oss"),
    (r"gpt-?2", "GPT-2"),
    (r"gpt-neox", "GPT-NeoX"),
    (r"gpt-j", "GPT-J"),
    (r"gpt-neo", "GPT-Neo"),
    (r"pythia", "Pythia"),
    (r"\bopt-", "OPT"),
    (r"bloom", "BLOOM"),
    (r"starcoder(2?)", r"StarCoder\1"),
    (r"stablelm-2", "StableLM 2"),
    (r"stablelm|stable-code", "StableLM"),
    (r"\bglm-?(\d(?:\.\d)?)", r"GLM-\1"),
    (r"\bglm", "GLM"),
    (r"\byi-(1\.5)", r"Yi \1"),
    (r"\byi-", "Yi"),
    (r"lfm-?2", "LFM2"),
    (r"exaone-?(\d)", r"EXAONE \1"),
    (r"internvl-?(\d)", r"InternVL\1"),
    (r"internlm-?(\d)", r"InternLM\1"),
    (r"vicuna", "Vicuna"),
    (r"solar", "SOLAR"),
    (r"llava", "LLaVA"),
    (r"aya|command-?[ra]", "Cohere"),
    (r"ernie", "ERNIE"),
    (r"apertus", "Apertus"),
    (r"seed-oss", "Seed-OSS"),
    (r"moonlight", "Moonlight"),
)

# Families that carry no "Instruct" in the name and still were trained to follow instructions.
TUNED_WITHOUT_SUFFIX = (
    r"^qwen-?3(?!-embedding|-reranker)|^qwq|^qwen-?3\.\d|^phi-?[34]|^smollm3|^smolvlm|^gpt-oss|^glm-4\.\d|^glm.*-0414|"
    r"^granite-4|^lfm-?2|^exaone-?4|^devstral|^magistral|^ministral|^aya-|^command|^internvl|^pixtral|^llava|"
    r"^deepseek-(v\d(\.\d)?|r1)(?!-base|-lite)|^mathstral|^bloomz|^ernie-4|^paligemma.*-mix|nemotron-nano|tulu|"
    r"hermes|vicuna|zephyr|alpaca|dolphin|openchat|wizardlm|-orca|starling|nous-|airoboros"
)

TUNED_WORDS = (
    r"(?:^|-)(?:instruct|instruction|inst|chat|it|sft|dpo|orpo|kto|rlhf|grpo|assistant|aligned|reasoning|"
    r"reason|think|thinking|thinker)(?:-|$)"
)

BASE_WORDS = r"(?:^|-)(?:base|pt|pretrain|pretrained|foundation)(?:-|$)"

# Read images beside text, by word or by family.
VISION = (
    r"(?:^|-)(?:vl|vlm|vision|multimodal|omni|llava|idefics\d?|moondream\d?|molmo|video)(?:-|$)|pixtral|paligemma|internvl|"
    r"smolvlm|minicpm-v|gemma-3-(?:4|12|27)b|gemma-3n|gemma-4|medgemma-4b|llama-4|mistral-small-3\.[1-9]|"
    r"ministral-3-|qwen-?3\.[5-9]"
)
TEXT_ONLY = r"(?:^|-)text(?:-only)?(?:-|$)"

REASONING = (
    r"(?:^|-)(?:r1|reasoning|reason|think|thinking|thinker)(?:-|$)|qwq|magistral|gpt-oss|^smollm3(?!.*base)|^glm-z|"
    r"^glm-4\.[5-9](?!.*base)|nemotron-nano|^qwen-?3-(?!.*(?:base|instruct|coder|embedding|reranker|vl))"
)

# Models that do not write text; finetui has nothing to train in them.
NOT_GENERATIVE = (
    r"(?:^|-)(?:embedding|embed|embeddings|reranker|rerank|bge|e5|gte|minilm|clip|siglip|whisper|tts|asr|bert|roberta|"
    r"deberta|modernbert|distilbert|t5|flan|reward|sdxl)(?:-|$)"
)

# Published only in a compressed number format, although the name does not say so.
SHIPPED_QUANTIZED: tuple[tuple[str, str], ...] = (
    (r"^gpt-oss-\d+b$", "MXFP4"),
    (r"^deepseek-(?:v3|r1)(?:-base|-0324|-0528|-zero)?$", "FP8"),
    (r"^ministral-3-\d+b-instruct-2512$", "FP8"),
)

# Total weights in billions where the name gives no size (or, for mixtures of experts, a misleading one).
NAMED_SIZES: tuple[tuple[str, float], ...] = (
    (r"mixtral-8x7b", 46.7),
    (r"mixtral-8x22b", 140.6),
    (r"llama-4-scout", 108.6),
    (r"llama-4-maverick", 401.6),
    (r"qwen1\.5-moe-a2\.7b", 14.3),
    (r"qwen3-coder-next", 79.7),
    (r"gemma-(?:3n)-e2b", 5.4),
    (r"gemma-(?:3n)-e4b", 7.8),
    (r"gemma-4-e2b", 5.1),
    (r"gemma-4-e4b", 7.9),
    (r"deepseek-(?:v3|r1)(?!.*distill)(?!.*qwen)", 671.0),
    (r"deepseek-(?:coder-)?v2-lite", 15.7),
    (r"phi-1(?:[-.]5)?$", 1.4),
    (r"phi-2$", 2.8),
    (r"phi-3(?:\.5)?-mini|phi-4-mini", 3.8),
    (r"phi-3-medium", 14.0),
    (r"phi-3\.5-moe", 41.9),
    (r"phi-4", 14.7),
    (r"mistral-nemo", 12.2),
    (r"mistral-small-instruct-2409", 22.2),
    (r"mistral-large", 122.6),
    (r"devstral-small|magistral-small", 23.6),
    (r"distilgpt-?2", 0.082),
    (r"gpt-?2-medium", 0.355),
    (r"gpt-?2-large", 0.774),
    (r"gpt-?2-xl", 1.56),
    (r"gpt-?2", 0.124),
    (r"glm-4\.5-air", 106.9),
    (r"granite-4\.[01]-micro", 3.4),
    (r"starcoder$", 15.5),
    (r"santacoder", 1.1),
    (r"smolvlm-instruct", 2.2),
)

# Accounts that re-upload other people's models in other formats: the owner in the name says nothing about the origin.
REUPLOADERS = frozenset(
    [
        "bartowski",
        "thebloke",
        "lmstudio-community",
        "quantfactory",
        "mradermacher",
        "maziyarpanahi",
        "second-state",
        "ggml-org",
        "mlx-community",
        "neuralmagic",
        "redhatai",
        "hugging-quants",
        "casperhansen",
        "solidrust",
        "lonestriker",
        "turboderp",
        "techxgenus",
        "modelcloud",
        "duyntnet",
        "tensorblock",
        "gaianet",
        "itlwas",
        "cyankiwi",
    ]
)
