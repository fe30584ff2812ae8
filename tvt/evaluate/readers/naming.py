"""Places where an answer names options: each becomes one character, whatever the option's letter, in a text that is otherwise
in lower case.

What decides between options then never sees a letter, so that it cannot prefer one. Only here a letter's look matters: an "A"
may be an article, an "I" a pronoun.
"""

from __future__ import annotations

import re

from tvt.core.question import LETTERS
from tvt.evaluate.readers.option_texts import OptionTexts

LETTER, ENTITY, TEXT, NEGATED, COMPARED = (chr(0xE000 + 0x40 * k) for k in range(5))
"""First character of each kind of place; the option's number is added. *LETTER*: "(B)", "option B"; *ENTITY*: "Point B" and the
like; *TEXT*: the option's text; *NEGATED* and *COMPARED*: named to say that it is not the answer, or to compare with it."""
SEVERAL = chr(0xE200)
"""A place that names several options: "A or B"."""
_KINDS = 0x40
NONE_OF_THEM = _KINDS - 1
"""The number that a negated place of several options has."""


def place(kind: str, option: int) -> str:
    """The character for a place that names an option."""
    return chr(ord(kind) + option)


def kind_of(character: str) -> str:
    """The kind of a place."""
    return SEVERAL if character == SEVERAL else chr((ord(character) - ord(LETTER)) // _KINDS * _KINDS + ord(LETTER))


def option_of(character: str) -> int:
    """The number of the option that a place names."""
    return (ord(character) - ord(LETTER)) % _KINDS


def span(*kinds: str) -> str:
    """A character class, without its brackets, of all places of some kinds."""
    return "".join(f"{kind}-{chr(ord(kind) + _KINDS - 1)}" for kind in kinds)


OWN = f"[{span(LETTER, TEXT, ENTITY)}]"
"""A place that names one option."""
NAMING = f"[{span(LETTER, TEXT, ENTITY)}{SEVERAL}]"
"""A place that names one or several."""
PLACE = f"[{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
"""Any place."""
COMPARED_ONE = f"[{span(COMPARED)}]"
WORD = f"[^{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}.;!?\\n]"
"""A character inside a sentence that is no place."""
BLANK = rf"[^\w{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
"""Punctuation or white space."""

_CHOICE = (
    r"(?:options?|choices?|answers?|letters?|alternatives?|selections?|选项|選項|選択肢|选择|opción|opção|réponse|respuesta|"
    r"resposta|antwort)"
)
_THING = (
    r"(?:(?:red|green|blue|yellow|bounding|second|reference|circled|candidate|corresponding)[ -]){0,2}"
    r"(?:box|boxes|bbox|points?|images?|pictures?|photos?|photographs?|figures?|fig\.|panels?|regions?|objects?|"
    r"circles?|markers?|dots?|"
    r"items?|positions?|locations?|spots?|areas?|candidates?|patch|patches|tiles?|pieces?|shapes?|patterns?|crops?|"
    r"views?|frames?|"
    r"keypoints?|squares?|rectangles?|parts?|sections?|labels?|labell?ed|marked|annotated|designated|called|named|one|"
    r"ones|surfaces?)"
    r"(?:[ ](?:labell?ed|marked|annotated|designated))?(?:[ ](?:as|with|by|at|in))?(?:[ ](?:the[ ])?(?:letter|label|"
    r"point|box))?"
)
_END = r"(?=\s*(?:$|[.,:;!?)\]\n—–]))"
_VERBS = (
    "is are was were be has have had does do did can cannot could would should will might may must seems appears "
    "looks shows corresponds matches fits represents contains provides displays features includes covers captures "
    "encloses localizes localises surrounds aligns shares depicts lies sits stands points indicates belongs gives "
    "makes completes continues better best isn't wasn't doesn't can't couldn't won't not and or nor but because "
    "since as for than which that who while whereas although though if when so then with without in on at to from "
    "of by near over under above below behind beside between vs versus it being itself only alone here there too "
    "also again most more less ist sind war hat est sont était es son era é são era è sono är är er jest adalah dan "
    "und oder ou et e o y och og i lub atau instead rather due given considering located situated positioned based "
    "please choose pick select wins"
)
_FOLLOWS = frozenset(_VERBS.split())
"""Words that follow a letter as a subject or object, and hardly ever an article."""
_ADVERBS = frozenset(
    [
        "more",
        "most",
        "better",
        "best",
        "less",
        "also",
        "only",
        "still",
        "just",
        "even",
        "much",
        "far",
        "very",
        "really",
        "quite",
        "too",
    ]
)
_NOUNS_IN_S = frozenset(
    [
        "lens",
        "series",
        "species",
        "pants",
        "news",
        "scissors",
        "glasses",
        "sunglasses",
        "jeans",
        "shorts",
        "always",
        "perhaps",
        "various",
    ]
)
_NEXT_WORD = re.compile(r"[ \t]+([A-Za-zà-ÿ](?:[a-zà-ÿ'’]|-\w)[\w'’-]*|[a-zà-ÿ]\b)")
_PROPER = re.compile(
    r"(?:vitamin|plan|hepatitis|type|grade|class|team|group|route|terminal|gate|serie|series)\s$", re.IGNORECASE
)


def mark(text: str, texts: OptionTexts) -> str:
    """A clean text in lower case with places instead of the options' names."""
    text = texts.mark(text, TEXT)
    text = _CHOSEN.sub(lambda m: _letter(m, text, place(LETTER, _number(m["letter"])), texts), text)
    text = _NAMED.sub(lambda m: _letter(m, text, _entity(m, texts), texts), text)
    text = _BRACKETED.sub(lambda m: place(LETTER, _number(next(filter(None, m.groups())))), text)
    text = _CUED.sub(lambda m: m["cue"] + place(LETTER, _number(m["letter"])), text)
    known = LETTERS[: max(5, len(texts))]
    text = _BARE.sub(lambda m: _bare(m, text, known, texts), text)
    return _merged(text.casefold(), len(texts))


def _number(letter: str) -> int:
    return LETTERS.index(letter.upper())


def _entity(match: re.Match[str], texts: OptionTexts) -> str:
    """What "Point B" names: the option whose text has that label, or else that of the letter."""
    letter = match["letter"].upper()
    return place(ENTITY, texts.labels.get(letter, _number(letter)))


_LETTER_BEHIND = r"(?:\s*[:#]\s*|\s+|\s*(?=[(\[]))[(\[]?(?P<letter>[A-Za-z])[)\]]?(?![\w'’&+]|-\w)"
_CHOSEN = re.compile(rf"(?<!\w)(?:the\s+)?(?P<noun>{_CHOICE}){_LETTER_BEHIND}", re.IGNORECASE)
_NAMED = re.compile(rf"(?<!\w)(?:(?:the|both)\s+)?(?P<noun>{_THING}){_LETTER_BEHIND}", re.IGNORECASE)
_BRACKETED = re.compile(
    r"(?<!\w)\(\s*([A-Za-z])\s*[.)]+(?!\w)|(?<!\w)\[\s*([A-Za-z])\s*\]|(?<!\w)<\s*([A-Z])\s*>|\{\s*([A-Z])\s*\}"
    r"|(?<![\w(])([A-Z])\s?\)|(?:(?<=\n)|^)([a-z])\)|\(([A-Z])(?=[\s,:](?![^()\n]{0,80}\)))"
)
_CUED = re.compile(
    r"(?P<cue>\b(?:answer|choice|option|letter|choose|select|pick|guess)\b[^.\n\w]{0,3}(?:\s*(?:is|be|would be|:|=|->|"
    r"→))?[:\s(]+)"
    r"(?P<letter>[b-z])" + _END,
    re.IGNORECASE,
)
_BARE = re.compile(r"(?<![\w'’.\-&+#@])(?<![Nn]/)(?P<letter>[A-Z])(?![\w'’&+#@]|-[^\W\d_]|/[a-z]|\.[^\W\d_])")


def _letter(match: re.Match[str], text: str, named: str, texts: OptionTexts) -> str:
    """The place of a letter behind a noun; a small letter must look like one, and an "A" behind a colon no article."""
    letter, behind = match["letter"], text[match.end() : match.end() + 40]
    shown = match.group()[len(match["noun"]) :]
    if "(" in shown or "[" in shown:
        return named
    if letter == "I":
        return match.group()
    if letter.islower():
        following = _NEXT_WORD.match(behind)
        alone = re.match(r"\s*(?:$|[.,:;!?)\]\n])", behind)
        if not alone and not (following and following.group(1) in _FOLLOWS):
            return match.group()
    elif ":" in shown and letter == "A" and _article(text, match.end(), 0, texts):
        return match.group()
    plural = match["noun"].endswith("s") and match["noun"].lower() not in ("is",)
    return named if not plural or "\n" not in shown else f"{match['noun']}\n{named}"


def _bare(match: re.Match[str], text: str, known: str, texts: OptionTexts) -> str:
    letter = match["letter"]
    modifies = text[: match.start()].endswith((" a ", " an ")) and _NEXT_WORD.match(text, match.end())  # "a B movie"
    if modifies or letter not in known or _PROPER.search(text, max(0, match.start() - 12), match.start()):
        return letter
    if letter in "AI" and _article(text, match.end(), _number(letter), texts):
        return letter
    if letter == "I" and len(text) > 2:
        return letter
    ends = re.match(r"\s*(?:$|[.,:;)\n])", text[match.end() : match.end() + 4])
    return place(LETTER, _number(letter) if ends else texts.labels.get(letter, _number(letter)))


def _article(text: str, end: int, option: int, texts: OptionTexts) -> bool:
    """Whether a capital is no letter but an article or a pronoun, from the small word behind it: "A red car", not "A is"."""
    if text[end : end + 2].strip()[:1] == place(TEXT, option):
        return False
    at, skipped = end, 0
    while skipped < 4:
        word = _NEXT_WORD.match(text, at)
        if not word:
            return False  # "I choose A definitely": an article has a noun behind it
        said = word.group(1).replace("’", "'").lower()
        if said in _ADVERBS or (said.endswith("ly") and len(said) > 4):
            at, skipped = word.end(), skipped + 1
            continue
        if said in _FOLLOWS or said in texts.predicates.get(option, ()):
            return False
        verb = said.endswith("s") and len(said) > 3 and not said.endswith(("ss", "us", "is", "os", "as", "'s"))
        return not verb or said in _NOUNS_IN_S
    return True


_BETWEEN = r"[ \t]*[:),\-–—=(]*[ \t]*(?:the[ \t]+)?"
_TOUCHING = re.compile(
    rf"({OWN})((?:{_BETWEEN}|(?<=[{span(LETTER)}])[ \t]*\.[ \t]*(?:the[ \t]+)?(?=[{span(TEXT, ENTITY)}])){OWN})(?:[ \t]*\))?"
)
_SINGULAR = (
    r"(?!\s+(?:is|was|has|does|shows?|appears|seems|looks|would|could|might|can|will|should|corresponds|matches|fits|"
    r"isn't|doesn't|"
    r"[a-z]+ly|[a-z]{3,}[^siua\W]s\b))"
)
_ALSO = r"(?:(?:the|also|even|maybe|possibly|perhaps|with|that)\s+)?"
_COMMA = rf"(?:[ \t]*[,;/|][ \t]*|(?<=[{span(LETTER)}])[ \t]*\.[ \t]*(?=[{span(LETTER)}])|[ \t]*\n[ \t]*|[ \t]+)"
_OR = r"\s*(?:,\s*)?(?:\b(?:or|nor|and/or|vs\.?|versus)\b|/)\s*"
_AND = r"\s*(?:,\s*)?(?:\band\b|&)\s*"
_GROUP = re.compile(
    rf"{OWN}(?:(?:{_COMMA}(?:the\s+)?{OWN})+(?:{_OR}|{_AND}){_ALSO}{OWN}|"
    rf"(?:{_COMMA}(?:the\s+)?{OWN}{_SINGULAR})*(?:{_OR}{_ALSO}{OWN})+"
    rf"|{_AND}{_ALSO}{OWN}{_SINGULAR}(?:{_AND}{_ALSO}{OWN}{_SINGULAR})*|(?:{_COMMA}(?:the\s+)?{OWN}{_SINGULAR})+)"
)
"""Options in a row: "A, B and C", "A or B", "A and B", "A, B"."""
_ASKED = re.compile(
    rf"\b(?:which|either|neither|one|any|both|whether|between|among)(?:\s+of)?(?:\s+the(?:\s+two)?)?\s+{OWN}"
    rf"(?:\s*,\s*(?:the\s+)?{OWN})*\s*,?\s*(?:and|or|nor|&)\s*(?:the\s+)?{OWN}"
    rf"|\bfrom\s+(?:the\s+)?{OWN}\s+to\s+(?:the\s+)?{OWN}"
)


def _merged(text: str, options: int) -> str:
    """Neighbours become one place: a letter with its option's text, and options in a row, "A, B or C", which name none."""
    return _GROUP.sub(lambda m: _group(m, options), _ASKED.sub(_asked, _TOUCHING.sub(_one, text)))


def _asked(match: re.Match[str]) -> str:
    return f"neither {SEVERAL}" if match.group().startswith("neither") else SEVERAL


def _one(match: re.Match[str]) -> str:
    """A letter with the text behind it is that option, also where the text is another's; so is a text with its letter."""
    first, second = match.group(1), match.group(2)[-1]
    between = match.group(2)[:-1]
    if "," in between and {kind_of(first), kind_of(second)} != {LETTER, TEXT}:
        return match.group()
    if option_of(first) == option_of(second):
        return first if kind_of(first) == LETTER else second if kind_of(second) == LETTER else first
    letter_first = kind_of(first) == LETTER and kind_of(second) == TEXT
    if letter_first and "," not in between and "and" not in between:
        return first
    return match.group()


_WHOLE_LIST = "them all"


def _group(match: re.Match[str], count: int) -> str:
    """Options in a row. A list ends where the order of options does: what follows "(A) (B) (C)" in another order is apart."""
    places = [character for character in match.group() if LETTER <= character < SEVERAL]
    options = [option_of(character) for character in places]
    if len(set(options)) == 1:
        return places[0]
    joined = re.search(r"\b(?:or|nor|and|vs|versus)\b|[/&|]", match.group())
    rising = next((k for k in range(1, len(options)) if options[k] <= options[k - 1]), len(options))
    if len(set(options)) == count > 2 and joined:
        return _WHOLE_LIST  # names nothing
    if joined or rising == len(options) or rising < 2:
        return SEVERAL
    rest = set(options[rising:])
    again = rest <= set(options[:rising])  # "A B D C" is a list alone
    return f"{SEVERAL}. {places[-1]}" if len(rest) == 1 and again else SEVERAL
