"""Which option a text decides for, from the places where it names options (:mod:`tvt.evaluate.readers.naming`).

Every place that is neither negated nor compared with is a claim of some strength. The strongest claims decide, and of answers
stated outright the last one; where they name several options, nothing is read. Sentences, negations and outright statements
are found here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tvt.evaluate.readers.naming import (
    BLANK,
    COMPARED,
    ENTITY,
    LETTER,
    NAMING,
    NEGATED,
    NONE_OF_THEM,
    OWN,
    PLACE,
    SEVERAL,
    TEXT,
    WORD,
    kind_of,
    option_of,
    place,
    span,
)
from tvt.evaluate.readers.option_texts import OptionTexts
from tvt.evaluate.readers.weighing import ALL, Claim, Strength, opposites, option, weigh

_CONSIDERS = re.compile(
    r"\b(?:if|whether|suppose|assuming|assume|unless|let's (?:check|see|consider|examine|look)|let us|"
    r"let me(?!\s+(?:guess|choose|pick|answer|say|go))|"
    r"check(?:ing)? (?:if|whether)|could be either|either)\b"
)
_GUESSES = re.compile(r"\bif (?:i|you|one|we)(?:'d| had| have| must| were| was| need| do)\b")
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|in conclusion|to conclude|in summary|to sum up|to summarize|"
    r"as a result|"
    r"so|overall|ultimately|in the end|we can conclude|i conclude|this (?:means|suggests|indicates|implies)|finally)\b|"
    r"因此|所以|따라서"
)
_REFUSES = re.compile(
    r"\b(?:(?:can ?not|can't|unable to|impossible to|not possible to|difficult to|hard to|don't know|do not know|"
    r"not sure|unsure|uncertain|"
    r"not clear|unclear)|not enough information|insufficient|cannot be determined|can't be determined|sorry|none of|"
    r"neither|no clear)\b"
)
_YET = re.compile(r"\b(?:but|however|though|yet|still)\b|,")
_ANALYSIS = re.compile(
    r"\b(?:let's|let us|step by step|we need to|first,|to (?:determine|find|identify|solve|answer)|"
    r"look(?:ing)? at (?:each|the))\b"
)
_DANGLING = re.compile(
    r"(?:\b(?:the|an?|of|on|in|at|to|and|or|is|are|with|that|which|has|as|by|for|from|it|its|this|but|because|be)|,)\s*$"
)
_FILLING = r"so|therefore|thus|hence|definitely|probably|maybe|the|answer|final|option|it's|it|is|ok|okay|no|yes|then|and"
_ALONE = re.compile(rf"(?:{BLANK}|\d|\b(?:{_FILLING})\b)*({NAMING}){BLANK}*")
_BEGINS = re.compile(
    rf"{BLANK}*({OWN})(?P<apart>\s*(?:$|[).:\]–—-]|,(?!\s*(?:then|and|or|followed)\b)))?"
    r"(?P<reason>\s*,?\s*(?:because|since|as|due to)\b)?"
)
_MARKED = re.compile(rf"{BLANK}*({OWN})\s*[).:,\]–—-]")


def decide(text: str, texts: OptionTexts) -> int | None:
    """The option that a marked text decides for, :data:`ALL` for several, ``None`` for none."""
    text = unclaimed(_in_the_options_words(_without_things(text, texts), texts), yes_no=texts.yes_no)
    every = list(sentences(text))
    claims = [claim for sentence in every for claim in _claims(sentence, every, texts)]
    by = {strength: [claim for claim in claims if claim.strength == strength] for strength in Strength}
    if by[Strength.STATED]:
        return by[Strength.STATED][-1].option
    concluded = by[Strength.CONCLUDED][-1:]
    if by[Strength.LEADING]:
        first = by[Strength.LEADING][0].option
        return ALL if concluded and concluded[0].option not in (first, ALL) else first
    result = concluded[0].option if concluded else _weighed(claims, text)
    return _by_elimination(text, texts) if result is None else result


def _weighed(claims: Sequence[Claim], text: str) -> int | None:
    """The option of the strongest claims, those aside only where there are no others; just a name must be the only one."""
    options = {claim.option for claim in claims}
    weak = max((claim.strength for claim in claims), default=Strength.NAMED) < Strength.BEST
    if weak and _cut_off(text) and (len(options) > 1 or _DANGLING.search(text)):
        return ALL if options else None
    for strength in (Strength.BEST, Strength.BETTER, Strength.LIKELY):
        for aside in (False, True):
            strongest = {claim.option for claim in claims if claim.strength == strength and claim.aside == aside}
            single = strongest - {ALL}  # "both are similar, but the second is more so"
            if strongest:
                return single.pop() if len(single) == 1 else ALL
    if len(options) > 1:
        return ALL
    begins = _BEGINS.match(text)
    whole = (begins and kind_of(begins.group(1)) == LETTER) or not _cut_off(text)
    return options.pop() if options and whole and not _REFUSES.search(text) else None


def _cut_off(text: str) -> bool:
    """Whether a text ends amid a sentence, or at the beginning of its reasoning."""
    ended = text.rstrip()[-1:] in (*".!?)。]", "")
    return not ended and bool(_DANGLING.search(text) or _ANALYSIS.search(text) or SENTENCE_END.search(text))


def _without_things(text: str, texts: OptionTexts) -> str:
    """Without "Point B" and the like where options have no such labels and are named otherwise: things of the picture."""
    if texts.labels or not re.search(f"[{span(ENTITY)}]", text):
        return text
    if texts.yes_no or re.search(f"[{span(LETTER, TEXT)}]", text):
        return re.sub(f"[{span(ENTITY)}]", "it", text)
    return text


_HAS = r"\b(?:(?:at|has|have|having|with|is)\s+)?(?:a\s+|the\s+)?"
_MORE, _LESS = r"(?:greater|larger|longer|bigger|higher|more)", r"(?:smaller|shorter|lower|less)"
_IN_OTHER_WORDS = (
    (
        {"closer", "nearer", "farther", "further"},
        rf"{_HAS}{_MORE}\s+(?:distance|depth)\b|\bdeeper\b|\bmore distant\b",
        "farther",
    ),
    ({"closer", "nearer", "farther", "further"}, rf"{_HAS}{_LESS}\s+(?:distance|depth)\b|\bless\s+(?:far|distant)\b", "closer"),
    ({"darker", "lighter", "brighter"}, rf"{_HAS}{_MORE}\s+(?:reflectance|albedo)\b|\breflects?\s+more\s+light\b", "lighter"),
    ({"darker", "lighter", "brighter"}, rf"{_HAS}{_LESS}\s+(?:reflectance|albedo)\b|\breflects?\s+less\s+light\b", "darker"),
)
"""What options say, other words for it, and the word that stands for these."""
_TO_ANOTHER = re.compile(rf"[{span(TEXT)}]\s+to\s+(?:the\s+)?(?=[{span(LETTER, ENTITY)}])")
"""The text of an option that goes on: what is closer to another point is not closer to the camera."""


def _in_the_options_words(text: str, texts: OptionTexts) -> str:
    """A text that says what the options say in their words: "has a greater depth" is "farther" where they are "closer"."""
    predicates = frozenset[str]().union(*texts.predicates.values())
    for said, pattern, word in _IN_OTHER_WORDS:
        if predicates & said:
            text = re.sub(pattern, word, text)
    return _TO_ANOTHER.sub("it lies beside ", text) if predicates else text


def _by_elimination(text: str, texts: OptionTexts) -> int | None:
    """Of two options, the other one of which nothing is said but that it is what the options' words are the opposite of."""
    if len(texts) != 2 or len(texts.predicates) != 2 or _REFUSES.search(text):
        return None
    opposite = "|".join(sorted(opposites(texts.predicates[0]) | opposites(texts.predicates[1])))
    places = re.findall(rf"([{span(LETTER, ENTITY)}]){WORD}{{0,40}}?\b(?:{opposite})\b", text) if opposite else []
    against = {option_of(character) for character in places}
    return 1 - against.pop() if len(against) == 1 and not re.search(r"\bnot\b|n't\b", text) else None


def _claims(sentence: Sentence, every: Sequence[Sentence], texts: OptionTexts) -> Iterator[Claim]:
    said = sentence.text
    asks = sentence.end.startswith("?") and len(every) > 1 and not (sentence is every[-1] and _ALONE.fullmatch(said))
    if asks or not re.search(PLACE, said):
        return
    considered = bool(_CONSIDERS.search(said) and not _GUESSES.search(said)) or _in_doubt(said)
    if not considered:
        outright = list(_outright(sentence, every))
        if outright:
            yield from outright
            return
    named = list(weigh(said, sentence.start, texts, considered=considered))
    if considered and len({claim.option for claim in named}) > 1:  # "If it is red, A; if it is green, B"
        named = [Claim(ALL, Strength.NAMED, sentence.start)]
    if considered:
        named = [claim for claim in named if claim.strength > Strength.NAMED or claim.option == ALL]
    conclusions = [match for match in _CONCLUDES.finditer(said) if re.search(NAMING, said[match.start() :])]
    if (conclusions or _CONCLUDES.search(said)) and not considered:
        if conclusions:
            named = list(weigh(said[conclusions[-1].start() :], sentence.start, texts, considered=False)) or named
        main = [claim for claim in named if not claim.aside] or named
        best = max((claim.strength for claim in main), default=Strength.NAMED)
        options = {claim.option for claim in main if claim.strength == best}
        if len(options) == 1:
            yield Claim(options.pop(), Strength.CONCLUDED, sentence.start)
            return
    yield from named


def _in_doubt(said: str) -> bool:
    """Whether a sentence says that the answer is unknown, and names options only as part of that."""
    refusal, place = _REFUSES.search(said), re.search(NAMING, said)
    return bool(refusal and place and refusal.start() < place.start() and not _YET.search(said[refusal.end() : place.start()]))


def _outright(sentence: Sentence, every: Sequence[Sentence]) -> Iterator[Claim]:
    """A sentence that states the answer, is nothing else, or begins the whole text with it."""
    said, first = sentence.text, sentence is every[0]
    outright = stated(said)
    if outright:
        yield Claim(option(outright[1]), Strength.STATED, sentence.start + outright[0])
        return
    alone = _ALONE.fullmatch(said)
    if alone and (first or sentence.end or sentence.fresh or kind_of(alone.group(1)) == LETTER):
        last = sentence is every[-1]
        if first and not last and _listed(alone.group(1), every):
            return
        yield Claim(
            option(alone.group(1)), Strength.LEADING if first else Strength.STATED if last else Strength.NAMED, sentence.start
        )
    elif first:
        begins = _BEGINS.match(said)
        thing = begins and kind_of(begins.group(1)) == ENTITY
        if begins and (begins["reason"] or (begins["apart"] and not thing)) and not _listed(begins.group(1), every):
            yield Claim(option(begins.group(1)), Strength.LEADING, sentence.start)


def _listed(character: str, every: Sequence[Sentence]) -> bool:
    """Whether the first place is that of the first option in a list of them: "A: ..." and then "B: ..."."""
    marked = [match for match in (_MARKED.match(other.text) for other in every[1:]) if match]
    return option(character) == 0 and bool(marked) and option_of(marked[0].group(1)) == 1


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
    result, at, said = match.group(1), match.start(1) - match.start(), match.group()
    return said[:at] + place(kind, NONE_OF_THEM if result == SEVERAL else option_of(result)) + said[at + 1 :]


SENTENCE_END = re.compile(r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bfig)[.!?]+(?=[\s)\]]|$)|[。！？;；]|\n+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence or a line."""

    text: str
    start: int
    """Where it begins in the whole text."""
    end: str
    """What ends it."""
    last: bool
    fresh: bool
    """Whether it begins a line."""


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences and lines; one that announces something (":", "is") goes on in the next line."""
    begin = 0
    spans: list[tuple[int, str, str]] = []
    for match in [*SENTENCE_END.finditer(text), None]:
        at, end = (len(text), "") if match is None else (match.start(), match.group())
        said = text[begin:at].strip()
        if end.startswith("\n") and re.search(r"(?::|\bis|\banswer|=)$", said):
            continue
        if said:
            spans.append((begin, said, end))
        begin = at + len(end)
    for k, (start, said, end) in enumerate(spans):
        before = text[:start].rstrip(" \t")
        fresh = not before or before.endswith("\n")
        yield Sentence(text=" ".join(said.split()), start=start, end=end, last=k == len(spans) - 1, fresh=fresh)


_FILL = (
    r"(?:\s*[:(\-–—=>]+\s*|\s+)(?:(?:that|the|option|choice|letter|number|most|likely|probably|therefore|thus|clearly|"
    r"indeed|definitely|"
    r"simply|be|just|as|follows|in|with|to|it|it's|is|would|should|point|box|image|labell?ed|one|correct|answer|best|"
    r"certainly|surely|"
    r"obviously|actually|still|on|by|given|in fact)\b[\s:,(]*){0,6}"
)
_STOP = (
    rf"(?=\s*(?:$|[.,;:!?)\n—–-]|because\b|since\b|as\b|due\b|which\b|where\b|for\b|and\b|but\b|based\b|given\b|in\b|"
    rf"on\b|with\b|rather\b|instead\b|over\b|from\b|is\b|{PLACE}))"
)
_IS = (
    r"(?:\b(?:is|are|was|be|being|seems|appears|remains|has to be|must be|ist|est|es|é|è|är|er|jest|adalah|là|is:|"
    r"are:)\b|'s\b|:|=|->|→|⇒)"
)
_NOUN = (
    r"(?<!first )(?<!second )(?<!third )(?<!fourth )(?<!last )(?<!other )(?<!wrong )(?<!each )\b(?:answers?|choice|"
    r"option|conclusion|selection|response|solution|guess|pick|verdict|decision|result|letter|match)\b"
)
_FOREIGN = (
    r"(?:答案|正确选项|正確選項|应选|應選|故选|所以选|因此选|选择|選擇|选|選|答え|回答|正解|解答|정답|답|选项|antwort|lösung|réponse|respuesta|"
    r"opción correcta|resposta|risposta|antwoord|ответ|odpowied[źz]|svar(?:et)?|vastaus|cevap|yanıt|jawaban(?:nya)?|đáp án|"
    r"الإجابة|الجواب|उत्तर|คำตอบ)"
)
_STATED = [
    re.compile(pattern)
    for pattern in (
        # the answer to this question is X
        rf"{_NOUN}{WORD}{{0,90}}?{_IS}{_FILL}({NAMING})",
        rf"=\s*({OWN})",
        rf"(?:\bi\.e\.|\bnamely)[\s,:]*({OWN})",
        # the answer is A, no, wait, X
        rf"\b(?:wait|actually|i mean|correction)\b[\s,.:—-]*(?:(?:no|wait|actually|it's|it is)\b[\s,.:—-]*)*({OWN}){_STOP}",
        rf"\bleaves?\s+(?:us\s+)?(?:with\s+)?(?:only\s+)?({OWN}){_STOP}",
        rf"{_NOUN}\s*(?:-|–|—)?\s*({OWN})(?=\s*(?:$|[.\n]))",
        # X is the correct answer
        rf"({NAMING})\s*(?:,\s*)?(?:{WORD}{{0,30}}?\s)?(?:is|are|was|be|seems(?: to be)?|"
        rf"appears(?: to be)?)\s+(?:\w+ly\s+)?(?:the|my|our|your|an?)?\s*"
        r"(?:\w+\s+){0,2}?(?:correct|answer|true|right(?=\s*(?:$|[.,;!)\n]|answer|option|choice|one|because|since|as\b))"
        r"|(?:best|right|most appropriate|most suitable|most accurate)\s+(?:answer|option|choice))",
        # I would choose X
        rf"\b(?:choose|chose|select(?:ed)?|pick(?:ed)?|go(?:ing)? with|went with|opt(?:ing)? for|vote for|settle (?:on|"
        rf"for)|lean(?:ing)? (?:towards?|to)|"
        rf"decide(?:d)? (?:on|for)|guess(?:ing)?|conclude|i'd say|would say|i say|going for)(?:\s+(?:that|it's|it is|"
        rf"it would be|would be|the answer|is|"
        rf"the|correct|option|for|as|on))*[\s:(]+({NAMING}){_STOP}",
        rf"\bguess\b{WORD}{{0,40}}?[,:]\s*(?:it's|it is|the|maybe|probably|\s)*({NAMING})",
        rf"\b(?:had to|have to|must) (?:guess|choose|pick|answer|say|"
        rf"select)\b{WORD}{{0,60}}?[,:]\s*{WORD}{{0,40}}?({NAMING})",
        # answers in other languages
        rf"{_FOREIGN}(?:(?![。不]){WORD}){{0,24}}?({NAMING})",
        rf"({NAMING})\s*(?:是|が|は|이|가|은|는|项是|為|为)?\s*(?:最)?(?:正确|正確|正しい|正解|정답|맞|对的|對的)",
        rf"({NAMING})\s*(?:ist (?:die )?richtig|est (?:la bonne|correct|la réponse)|es (?:la )?correct|é (?:a )?corret|"
        rf"è (?:la )?corrett|верн|правильн)",
    )
]
_HEDGED = re.compile(
    r"\b(?:i think|i believe|i'd think|i suspect|i'm going with|probably|likely|definitely|must be|has to be|should be|"
    r"maybe|perhaps)\s+"
    rf"(?:that\s+)?(?:it's |it is |it must be |is |the |for |with )*({OWN})(?=\s*(?:$|[.;!)\n]|because\b|since\b|,))"
)


def stated(sentence: str) -> tuple[int, str] | None:
    """The last place that a sentence states to be the answer, with its position."""
    matches = [(match.end(1), match.group(1)) for pattern in _STATED for match in pattern.finditer(sentence)]
    if not matches:
        matches = [(match.end(1), match.group(1)) for match in _HEDGED.finditer(sentence)]
        if len({option_of(character) for _, character in matches}) > 1:
            return None
    return max(matches) if matches else None
