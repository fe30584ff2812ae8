"""How strongly a sentence says of each place that its option is the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tvt.evaluate.readers.naming import (
    COMPARED_ONE,
    ENTITY,
    LETTER,
    NAMING,
    PLACE,
    SEVERAL,
    TEXT,
    WORD,
    kind_of,
    option_of,
    span,
)
from tvt.evaluate.readers.option_texts import OptionTexts

ALL = -1
"""A claim or a decision for several options, which is none."""


class Strength(IntEnum):
    """How clearly a place says that its option is the answer."""

    NAMED = 0
    """Just named."""
    LIKELY = 1
    """Said to be similar, or to have what the question may be about: "shares the style"."""
    BETTER = 2
    """Said to be more of something than others."""
    BEST = 3
    """Said to be the most, the closest, the one that corresponds."""
    CONCLUDED = 4
    """Named in a conclusion: "Therefore, ..."."""
    LEADING = 5
    """The answer begins with it: "(B) because ..."."""
    STATED = 6
    """"The answer is ...", "... is correct", or the last line is nothing else."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An option, or :data:`ALL` for several, as the answer."""

    option: int
    strength: Strength
    position: int
    """Where it stands; later ones are larger."""
    aside: bool = False
    """In a subordinate clause, or where another option is talked about."""


_SUBORDINATE = re.compile(
    r"\b(?:while|whereas|although|though|even though|because|since|as(?!\s+well)|unlike|compared|"
    r"which(?!\s+(?:suggest|indicat|mean|mak|impl|correspond|match|resembl|most|best|fit|is\s+(?:the|also|more|most)))|"
    r"whose|where|than|if|"
    r"whether|when|until|despite|for example|such as|including|(?<!looks )(?<!look )(?<!more )(?<!most )(?<!just )like|except|"
    r"apart from|aside from|"
    r"given that)\b"
)
_AGAINST = re.compile(r"\b(?:while|whereas|although|though)\b")
_ASIDE = re.compile(r"\b(?:on the other hand|in contrast|by contrast|conversely|meanwhile|by comparison|in comparison)\b")
_HEDGED = re.compile(r"^\s*(?:could|might|may)\b|^\s*(?:seems?|seemed|appears?|looks?|was)\s+(?:\w+\s+)?at first\b")
_RETRACTED = re.compile(r"\b(?:initially|at first|first thought|at first glance)\b")
_SPARE = r"(?:unnecessary|extra|empty|background|excess\w*|surrounding|of the (?:background|surrounding\w*))"
"""What a good box has less of."""
_BEST = re.compile(
    r"\b(?:most(?!\s+of)|best|closest|nearest|darkest|brightest|lightest|tightest|highest|correspond\w*|correct\w*|accurately|"
    r"identical|exact(?:ly)?|perfect(?:ly)?|real|authentic|genuine|missing|answer|moving|moves|moved|rotat\w+|likely|match\w*|"
    r"belongs|equivalent|total|altogether|only one|remains)\b"
)
_BETTER = re.compile(
    rf"\b(?:less\s+{_SPARE}|more(?!\s+(?:{_SPARE}|different|dissimilar))|better|closer|nearer|darker|brighter|lighter|tighter|larger|smaller|higher|lower|superior|"
    r"preferable)\b"
)
_LIKELY = re.compile(
    r"\b(?:similar\w*|same|fits?|precise\w*|tight\w*|shares?|sharing|shared|resembl\w*|align\w*|complet\w*|accurate|follows|"
    r"seamless\w*|suitable|consistent|natural\w*|good|well|analogous|whole|entire\w*|full\w*|all\s+of|continu\w+|realistic|"
    r"cent(?:er|re)d|in front|foreground|just like)\b"
)
_BAD = re.compile(
    rf"\b(?:not|\w+n't|cannot|never|no longer|fails?|failing|lacks?|lacking|less(?!\s+{_SPARE})|least|wrong|incorrect\w*|false|"
    rf"more\s+{_SPARE}|worse|worst|poorer|poorest|inferior|dissimilar|excludes?|omits?|"
    r"different\w*|differs?|unlike|too\s+\w+|extra|excess\w*|(?<!less )unnecessary|misses|missed|cuts?\s+off|incomplete\w*|"
    r"loose\w*|generated|artificial\w*|synthetic|fake|unrealistic\w*|manipulated|edited|altered|distort\w*|inconsisten\w*|"
    r"unnatural\w*|mismatch\w*|unrelated|irrelevant|slightly off|off (?:to|by|from|the)|partial\w*|outside|"
    r"only\s+(?:\w+\s+){0,2}(?:part\w*|portion|half|some|head|top|bottom|upper|lower)|farther|further|than necessary|"
    r"artifacts?|missing (?:a |some |the )?part of the (?!first|image|picture)|(?<!less )background)\b|不|错|錯"
)
_WITH_REFERENCE = re.compile(
    r"\b(?:first|reference)(?:\s+(?:image|picture|painting|photo|one))?\s*(?:,\s*)?(?:and|is|shares \w+ with)\s*(?:the\s+)?$"
)
_COPULA = re.compile(r"\b(?:is|are|be|was|it's|there (?:is|are)|see|count|contains?|shows?)\s*(?:the|an?|in|on|to the)?\s*$")
_PART_OF = re.compile(r"^[^,]*?(?:^\s*of (?:which|them|these)\b|\bthan (?:necessary|needed|required|it should|the object))")
_SIDE = re.compile(r"^[\s-]*(?:side|edge|corner|half|part|portion|end|hand|wing|leg|arm|ear|eye)\b")
_OPPOSITES = {
    "closer": "farther further away behind distant far",
    "nearer": "farther further away behind distant far",
    "farther": "closer nearer",
    "further": "closer nearer",
    "darker": "lighter brighter",
    "lighter": "darker",
    "brighter": "darker",
    "larger": "smaller",
    "smaller": "larger bigger",
    "bigger": "smaller",
    "left": "right",
    "right": "left",
}
_CLAUSE = re.compile(r"[,:—–]|\s-\s|\b(?:and|but|so|while|whereas|because|since|although|though|however|yet)\b(?=\s)")


def weigh(said: str, start: int, texts: OptionTexts, *, considered: bool) -> Iterator[Claim]:
    """A claim for every place of a sentence that names an option, unless it is said not to be the answer.

    Args:
        said: the sentence.
        start: where it begins.
        texts: the options' texts.
        considered: whether the sentence only considers options: "If it were ...".
    """
    clauses = list(_clauses(said))
    for k, (before, clause) in enumerate(clauses):
        earlier = clauses[k - 1][1] if k and not re.search(PLACE, clauses[k - 1][1]) else ""
        places = [item for item in re.finditer(PLACE, clause) if not _owned(item.group(), clause[item.end() :], texts)]
        claimed = Strength.NAMED
        for n, match in enumerate(places):
            character = match.group()
            left = clause[: match.start()] if n == 0 else ""
            right = (
                clause[match.end() : places[n + 1].start()]
                if n + 1 < len(places)
                else _rest(clause[match.end() :], clauses[k + 1 :])
            )
            if not re.match(NAMING, character):
                yield from _by_comparison(character, clause[: match.start()], start, texts)
                continue
            strength = _strength(left, right, character, texts)
            if strength == Strength.NAMED and n == 0 and _WITH_REFERENCE.search(f"{earlier}{before} {left}"):
                strength = Strength.LIKELY
            if strength is None or (n > 0 and strength == Strength.NAMED and claimed > Strength.NAMED):
                continue  # what the clause's subject is compared with
            claimed = max(claimed, strength)
            joined = f"{before} {left}"
            if _RETRACTED.search(joined):
                continue
            aside = bool(
                n > 0 or considered or _ASIDE.search(said) or _SUBORDINATE.search(joined) or (texts.numeric and ":" in before)
            )
            yield Claim(option(character), strength, start + k, aside)


def option(character: str) -> int:
    """The option of a place, or :data:`ALL`."""
    return ALL if character == SEVERAL else option_of(character)


def _owned(character: str, behind: str, texts: OptionTexts) -> bool:
    """Whether labels only have what an option's text says: "A and B are about the same"."""
    labelled = character == SEVERAL or (texts.labels and kind_of(character) in (LETTER, ENTITY))
    return bool(labelled and re.match(rf"{WORD}*[{span(TEXT)}]", behind))


def _rest(clause: str, following: Sequence[tuple[str, str]]) -> str:
    """A clause from a place on, with the clauses behind it that say more of the same."""
    for joint, other in following:
        if re.search(PLACE, other) or _AGAINST.search(joint) or re.search(r"\b(?:because|since)\b", joint):
            break
        clause += f" {other}"
    return clause


def _clauses(said: str) -> Iterator[tuple[str, str]]:
    """The clauses of a sentence, each with what joins it to the one before."""
    joint, begin = "", 0
    for match in _CLAUSE.finditer(said):
        if said[begin : match.start()].strip():
            yield joint, said[begin : match.start()]
            joint = ""
        joint += f" {match.group()}"
        begin = match.end()
    yield joint, said[begin:]


def _by_comparison(character: str, before: str, start: int, texts: OptionTexts) -> Iterator[Claim]:
    """What "A is farther than B" says: that B is closer, where that is what options say of A and B."""
    compares = re.search(r"\bthan\b|\binferior to\b", before)
    if not re.match(COMPARED_ONE, character) or not compares or re.search(r"\bnot\b|n't\b", before):
        return
    if re.search(rf"\bless\b(?!\s+{_SPARE})|\b(?:worse|poorer|inferior|more (?:different|dissimilar))\b", before):
        yield Claim(option_of(character), Strength.BETTER, start)
    elif set(re.findall(r"[a-z]+", before)) & opposites(texts.predicates.get(option_of(character), frozenset())):
        yield Claim(option_of(character), Strength.BEST, start)


def _strength(left: str, right: str, character: str, texts: OptionTexts) -> Strength | None:
    """How strongly the words around a place speak for its option; ``None`` where they speak against it."""
    if texts.yes_no and kind_of(character) == TEXT:
        return Strength.BEST
    if _PART_OF.match(right) or (_SIDE.match(right) and kind_of(character) == TEXT and not left.strip()):
        return None
    near = _SUBORDINATE.split(right, maxsplit=1)[0]
    predicate = texts.predicates.get(option_of(character), frozenset()) if character != SEVERAL else frozenset[str]()
    said = set(re.findall(r"[a-z']+", f"{left} {near}"))
    if predicate and predicate <= said | {"to", "the", "camera", "is"}:
        return None if re.search(r"\bnot\b|n't\b|\bless\b", near) else Strength.BEST
    if said & opposites(predicate):
        return None
    return _by_words(left, near, character, hedged=bool(_HEDGED.match(right)))


def _by_words(left: str, near: str, character: str, *, hedged: bool) -> Strength | None:
    """The same from the words that usually speak for or against; those for an option count up to the first one against it."""
    bad = _BAD.search(near)
    here = near[: bad.start()] if bad else near
    for pattern, strength in ((_BEST, Strength.BEST), (_BETTER, Strength.BETTER), (_LIKELY, Strength.LIKELY)):
        if pattern.search(here) or pattern.search(left):
            return Strength.NAMED if hedged and strength < Strength.BEST else strength
    if bad:
        return None
    return Strength.LIKELY if kind_of(character) == TEXT and _COPULA.search(left) else Strength.NAMED


def opposites(predicate: frozenset[str]) -> frozenset[str]:
    """The words that say the opposite of what an option's text says of its label."""
    return frozenset(word for said in predicate for word in _OPPOSITES.get(said, "").split())
