"""The normal form of an answer in the VQA evaluation: lower case, without articles and punctuation, numbers in digits.

Source: the evaluation code of VQA (Antol et al., *VQA: Visual Question Answering*, ICCV 2015; Goyal et al., *Making the V in
VQA Matter*, CVPR 2017), which https://visualqa.org/evaluation.html describes; the signs of punctuation, the words and the order
are those of its ``processPunctuation`` and ``processDigitArticle``.
"""

from __future__ import annotations

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_DIGITS = {
    word: str(n) for n, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
}
_DIGITS |= {"none": "0", "ten": "10"}
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
    y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_apostrophes() -> dict[str, str]:
    """The contractions by how they are written with one apostrophe left out."""
    found: dict[str, str] = {}
    for word in _CONTRACTED.split():
        places = [at for at, letter in enumerate(word) if letter == "'"]
        for at in places:
            found[word[:at] + word[at + 1 :]] = word
    return found


_CONTRACTIONS = _without_apostrophes()


def vqa_normal_form(text: str) -> str:
    """An answer as the VQA evaluation compares it.

    >>> vqa_normal_form("The two dogs, dont you see?")
    "2 dogs don't you see"
    """
    text = " ".join(text.split())
    plain = text
    for sign in _PUNCTUATION:
        beside_space = f"{sign} " in text or f" {sign}" in text
        plain = plain.replace(sign, "" if beside_space or _THOUSANDS.search(text) else " ")
    words = (_DIGITS.get(word, word) for word in _PERIOD.sub("", plain).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
