"""Keys and personal data inside a text: precise patterns with checksums where there are any, so that alarms are rare."""

from __future__ import annotations

import re
from collections.abc import Iterator

_VENDORS: dict[str, str] = {
    "an Anthropic key": r"sk-ant-[a-z]{2,10}\d\d-[\w-]{32,}",
    "an OpenRouter key": r"sk-or-v1-[0-9a-f]{64}",
    "an OpenAI key": r"sk-(?:proj|svcacct|admin)-[\w-]{32,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|sk-[A-Za-z0-9]{48}",
    "a Stripe live key": r"[rs]k_live_[A-Za-z0-9]{20,}",
    "an AWS access key": r"A(?:KI|SI)A[0-9A-Z]{16}(?![0-9A-Za-z])",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}",
    "a GitLab token": r"glpat-[\w-]{20,}",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{34,}",
    "a Google API key": r"AIza[\w-]{35}",
    "a Google OAuth secret": r"GOCSPX-[\w-]{28}|ya29\.[\w-]{40,}",
    "a Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{20,}|xapp-\d-[A-Za-z0-9-]{30,}",
    "a Slack webhook": r"hooks\.slack\.com/services/T\w{8,}/B\w{8,}/\w{20,}",
    "an npm token": r"npm_[A-Za-z0-9]{36}",
    "a PyPI token": r"pypi-AgEIcHlwaS5vcmc[\w-]{50,}",
    "a SendGrid key": r"SG\.[\w-]{22}\.[\w-]{43}",
    "a DigitalOcean token": r"do[opr]_v1_[0-9a-f]{64}",
    "a Databricks token": r"dapi[0-9a-f]{32}",
    "a Shopify token": r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}",
    "an NVIDIA key": r"nvapi-[\w-]{60,}",
    "a Groq key": r"gsk_[A-Za-z0-9]{52}",
    "an xAI key": r"xai-[A-Za-z0-9]{70,}",
    "a Replicate token": r"r8_[A-Za-z0-9]{37}",
    "an Azure storage key": r"AccountKey=[A-Za-z0-9+/]{86}==",
    "a Telegram bot token": r"[0-9]{8,10}:AA[\w-]{33}",
    "a signed token (JWT)": r"eyJ[\w-]{10,600}\.eyJ[\w-]{10,}\.[\w-]{20,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----\s*(?:\\n)?[A-Za-z0-9+/=:]{10,}",
}
_SECRET = re.compile("|".join(f"(?P<v{index}>{pattern})" for index, pattern in enumerate(_VENDORS.values())))
_NAMES = list(_VENDORS)
HINT = re.compile(
    rb"sk-|k_live_|A(?:KI|SI)A|gh[pousr]_|github_pat_|glpat-|hf_|AIza|GOCSPX-|ya29\.|xox[abeoprs]-|xapp-|hooks\.slack|npm_|pypi-|SG\."
    rb"|do[opr]_v1_|dapi|shp(?:at|ca|pa|ss)_|nvapi-|gsk_|xai-|r8_|AccountKey=|:AA|eyJ|PRIVATE KEY"
)
"""What one of the keys begins with, for a quick look at the bytes before `secrets_in`."""

_MOST_AT_SIGNS = 1000  # per text, so that megabytes of them cost nothing
_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,24})(?![\w@-])")
# Names that are reserved for examples, and what follows an @ in code and file names.
_NOT_MAIL = re.compile(
    r"(?:^|\.)example\.(?:com|org|net|edu)$|^(?:test|email|domain|company|yourdomain|mydomain|acme)\.com$"
    r"|\.(?:example|test|invalid|localhost|local|internal|png|jpe?g|gif|svg|webp|js|ts|css|py|java|json|xml|html?|md|txt|sh)$",
    re.I,
)
_INTERNATIONAL = re.compile(r"\+[1-9]\d{0,2}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}(?![\d.]*\d|\w)")
_AMERICAN = re.compile(r"[2-9]\d\d(?:\) ?|[-.])([2-9]\d\d)[-.](\d{4})(?![\w-])")
_CARD = re.compile(r"[2-6]\d{3}([ -]?)(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5})(?!\d)")
_CARD_ISSUER = re.compile(r"4|5[1-5]|2(?:2[2-9]|[3-6]\d|7[01])|3[47]|6011|65|35(?:2[89]|[3-8])")
_TEST_CARDS = frozenset(
    "4111111111111111 4242424242424242 4012888888881881 4000056655665556 5555555555554444 5105105105105100 "
    "5200828282828210 2223003122003222 378282246310005 371449635398431 6011111111111117 6011000990139424 "
    "3530111333300000 3566002020360505 4000000000000002 4444333322221111 1234567812345670".split()
)
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26,
    "UA": 29, "XK": 20,
}  # fmt: skip
_EXAMPLE_IBANS = ("DE89370400440532013000", "GB82WEST12345698765432", "GB29NWBK60161331926819", "FR1420041010050500013M02606")  # fmt: skip


def secrets_in(text: str) -> Iterator[str]:
    """Kinds of keys in a text, such as ``a GitHub token``; obvious placeholders are passed over."""
    for match in _SECRET.finditer(text):
        found = match[0]
        before = text[match.start() - 1] if match.start() else " "
        if before.isalnum() and before.isascii():
            continue
        if "EXAMPLE" in found.upper() or len(set(found)) < 12 or "xxxx" in found.lower():
            continue
        yield _NAMES[(match.lastindex or 1) - 1]


def emails_in(text: str) -> Iterator[str]:
    """E-mail addresses, masked such as ``a***@mail.com``; those reserved for examples are passed over."""
    at, looked_at = text.find("@"), 0
    while at >= 0 and looked_at < _MOST_AT_SIGNS:
        looked_at += 1
        before = text[max(0, at - 64) : at]
        local = before[len(before.rstrip(_LOCAL)) :].strip(".")
        domain = _DOMAIN.match(text, at + 1) if local and local != "git" else None
        if domain and not _NOT_MAIL.search(domain[0]):
            yield f"{local[0]}***@{domain[0]}"
        at = text.find("@", at + 1)


def numbers_in(text: str, cards: bool = True) -> Iterator[str]:
    """Kinds of personal numbers: phone numbers, and bank and card numbers whose checksum is right.

    Args:
        text: The text.
        cards: Look for card numbers; False where no run of digits is long enough.
    """
    for match in _IBAN.finditer(text):
        if (
            _is_iban(match[0].replace(" ", ""))
            and not text[max(0, match.start() - 1) : match.start()].isalnum()
        ):
            yield "a bank account number (IBAN)"
    for match in _CARD.finditer(text) if cards else ():
        digits = re.sub(r"\D", "", match[0])
        if (
            digits not in _TEST_CARDS
            and _CARD_ISSUER.match(digits)
            and (len(digits) == 15) == digits.startswith(("34", "37"))
            and len(set(digits)) > 3
            and _free(text, match.start())
            and _luhn(digits)
        ):
            yield "a payment card number"
    for match in _INTERNATIONAL.finditer(text):
        if 9 <= sum(map(str.isdigit, match[0])) <= 15 and _free(text, match.start()):
            yield "a phone number"
    for match in _AMERICAN.finditer(text):
        if match[1] != "555" and _free(text, match.start()):
            yield "a phone number"


def _free(text: str, start: int) -> bool:
    """No digit, letter or arithmetic leads into the number."""
    before = text[max(0, start - 2) : start]
    return not before or not (
        before[-1].isalnum() or before[-1] in "._-/=#" or (before[-1] == " " and before[0].isdigit())
    )


def _luhn(digits: str) -> bool:
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (
        sum(int(digit) for digit in digits[-1::-2]) + sum(x - 9 if x > 9 else x for x in doubled)
    ) % 10 == 0


def _is_iban(text: str) -> bool:
    if len(text) != _IBAN_LENGTHS.get(text[:2]) or text in _EXAMPLE_IBANS:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1
