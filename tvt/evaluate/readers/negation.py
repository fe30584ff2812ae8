"""Options that are named to say that they are not the answer, or to compare another one with them."""

from __future__ import annotations

import re
from functools import partial

from tvt.evaluate.readers.places import COMPARED, NAMING, NEGATED, NONE_OF_THEM, SEVERAL, TEXT, option_of, place, span

_NOT_BEFORE = re.compile(
    rf"(?:\b(?:not|never|neither|nor|rather than|instead of|except(?: for)?|doubt(?:ful)?|none of|neither of|excluding|"
    rf"without|other than|eliminat\w+|exclud\w+|rules? out|ruled out|"
    rf"ruling out|disagree with|opposite of|anything but|"
    rf"discard\w*|reject\w*|unlike|as opposed to|cannot be|no)\b|n't\b|不是|不选|不選|并非)"
    rf"\s*(?:(?!as\b|than\b|but\b|only\b|because\b|since\b|clear\b|sure\b|just\b|whether\b)[a-z']+\s+){{0,3}}(?:\(|"
    rf"option\s+|the\s+)?({NAMING})"
)
_NOT_AFTER = re.compile(
    rf"({NAMING})\s*(?:(?!because\b|since\b|as\b|that\b|which\b|who\b|and\b|but\b|while\b|whereas\b|though\b|although\b|"
    rf"than\b|more\b|most\b|if\b|or\b|"
    rf"where\b|due\b|with\b|without\b|to\b)[a-z']+\s+){{0,3}}?"
    r"(?:(?:is|are|was|does|do|did|has|have|can|could|would|should|may|might)?\s*(?:not|never|cannot)\b(?!\s+only)|"
    r"\w+n't\b|(?:is|are|was|seems|appears|would be)\s+"
    r"(?:\w+ly\s+)?(?:wrong|incorrect|false|unlikely|out\b|too\b|less\b|eliminated|ruled|the wrong|an incorrect|a wrong|"
    r"neither)|cannot\b|fails\b|lacks\b|(?:can|could|may|should|must) be (?:excluded|eliminated|ruled out|discarded|"
    r"rejected)"
    r"|(?:是)?(?:错|錯|不))"
)
_COMPARED = re.compile(
    rf"\b(?:than|compared (?:to|with)|versus|vs\.?|over|relative to|in comparison (?:to|with)|contrary to|inferior to|"
    rf"unlike|beside|besides|from)\s+"
    rf"(?:(?:that|the one|those|either|both|just|what|is|in|of|for|with|to|by|the|does|do)\s+){{0,4}}({NAMING})"
)


def unclaimed(text: str, *, yes_no: bool = False) -> str:
    """A text with its places marked that are negated or only compared with; "no, it is not" does not negate a "no"."""
    text = _COMPARED.sub(partial(_turned, COMPARED), text)
    text = _NOT_BEFORE.sub(partial(_turned, NEGATED), text)
    return text if yes_no and re.search(f"[{span(TEXT)}]", text) else _NOT_AFTER.sub(partial(_turned, NEGATED), text)


def _turned(kind: str, match: re.Match[str]) -> str:
    """What was matched, with its place turned to another kind."""
    found, at, said = match.group(1), match.start(1) - match.start(), match.group()
    return said[:at] + place(kind, NONE_OF_THEM if found == SEVERAL else option_of(found)) + said[at + 1 :]
