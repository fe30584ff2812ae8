"""Which option a text decides for, from the places where it names options (:mod:`tvt.evaluate.readers.naming`).

Every place that is neither negated nor compared with is a claim of some strength. The strongest claims decide, and of answers
stated outright the last one; where they name several options, nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tvt.evaluate.readers.naming import (
    COMPARED,
    ENTITY,
    LETTER,
    NEGATED,
    SEVERAL,
    TEXT,
    kind_of,
    option_of,
    place,
    span,
)
from tvt.evaluate.readers.option_texts import OptionTexts

ALL = -1
"""A decision for several options, which is none."""


class Strength(IntEnum):
    """How clearly a place says that its option is the answer."""

    NAMED = 0
    """Just named."""
    LIKELY = 1
    """Said to be more of something, or similar: "shares the style"."""
    BEST = 2
    """Said to be the most, the closest, the one that corresponds."""
    CONCLUDED = 3
    """Named in a conclusion: "Therefore, ..."."""
    LEADING = 4
    """The answer begins with it: "(B) because ..."."""
    STATED = 5
    """"The answer is ...", "... is correct", or the last line is nothing else."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An option, or :data:`ALL` for several, as the answer."""

    option: int
    strength: Strength
    position: int
    aside: bool = False
    """In a subordinate clause, or where another option is talked about."""


_OWN = f"[{span(LETTER, TEXT, ENTITY)}]"
_X = f"[{span(LETTER, TEXT, ENTITY)}{SEVERAL}]"
_ANY = f"[{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
_W = f"[^{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}.;!?\\n]"
"""A character inside a sentence that names no option."""
_P = rf"[^\w{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}]"
"""Punctuation or a blank."""

_FILL = (
    r"(?:\s*[:(\-–—=>]+\s*|\s+)(?:(?:that|the|option|choice|letter|number|most|likely|probably|therefore|thus|clearly|indeed|definitely|"
    r"simply|be|just|as|follows|in|with|to|it|it's|is|would|should|point|box|image|labell?ed|one|correct|answer|best|certainly|surely|"
    r"obviously|actually|still|on|by|given|in fact)\b[\s:,(]*){0,6}"
)
_STOP = rf"(?=\s*(?:$|[.,;:!?)\n—–-]|because\b|since\b|as\b|due\b|which\b|where\b|for\b|and\b|but\b|based\b|given\b|in\b|on\b|with\b|rather\b|instead\b|over\b|from\b|is\b|{_ANY}))"
_IS = r"(?:\b(?:is|are|was|be|being|seems|appears|remains|has to be|must be|ist|est|es|é|è|är|er|jest|adalah|là|is:|are:)\b|'s\b|:|=|->|→|⇒)"
_NOUN = r"(?<!first )(?<!second )(?<!third )(?<!fourth )(?<!last )(?<!other )(?<!wrong )(?<!each )\b(?:answers?|choice|option|conclusion|selection|response|solution|guess|pick|verdict|decision|result|letter|match)\b"
_FOREIGN = (
    r"(?:答案|正确选项|正確選項|应选|應選|故选|所以选|因此选|选择|選擇|选|選|答え|回答|正解|解答|정답|답|选项|antwort|lösung|réponse|respuesta|"
    r"opción correcta|resposta|risposta|antwoord|ответ|odpowied[źz]|svar(?:et)?|vastaus|cevap|yanıt|jawaban(?:nya)?|đáp án|"
    r"الإجابة|الجواب|उत्तर|คำตอบ)"
)
_STATED = [
    re.compile(pattern)
    for pattern in (
        # the answer to this question is X
        rf"{_NOUN}{_W}{{0,90}}?{_IS}{_FILL}({_X})",
        rf"{_NOUN}\s*(?:-|–|—)?\s*({_OWN})(?=\s*(?:$|[.\n]))",
        # X is the correct answer
        rf"({_X})\s*(?:,\s*)?(?:{_W}{{0,30}}?\s)?(?:is|are|was|be|seems(?: to be)?|appears(?: to be)?)\s+(?:\w+ly\s+)?(?:the|my|our|your|an?)?\s*"
        r"(?:\w+\s+){0,2}?(?:correct|answer|true|right(?=\s*(?:$|[.,;!)\n]|answer|option|choice|one|because|since|as\b))"
        r"|(?:best|right|most appropriate|most suitable|most accurate)\s+(?:answer|option|choice))",
        # I would choose X
        rf"\b(?:choose|chose|select(?:ed)?|pick(?:ed)?|go(?:ing)? with|went with|opt(?:ing)? for|vote for|settle (?:on|for)|lean(?:ing)? (?:towards?|to)|"
        rf"decide(?:d)? (?:on|for)|guess(?:ing)?|conclude|i'd say|would say|i say|going for)(?:\s+(?:that|it's|it is|it would be|would be|the answer|is|"
        rf"the|correct|option|for|as|on))*[\s:(]+({_X}){_STOP}",
        rf"\bguess\b{_W}{{0,40}}?[,:]\s*(?:it's|it is|the|maybe|probably|\s)*({_X})",
        rf"\b(?:had to|have to|must) (?:guess|choose|pick|answer|say|select)\b{_W}{{0,60}}?[,:]\s*{_W}{{0,40}}?({_X})",
        rf"\b(?:i think|i believe|i'd think|i suspect|i'm going with|probably|likely|definitely|must be|has to be|should be)\s+"
        rf"(?:that\s+)?(?:it's |it is |it must be |is |the |for |with )*({_OWN})(?=\s*(?:$|[.;!)\n]|because\b|since\b|,))",
        # answers in other languages
        rf"{_FOREIGN}[^.;!?。\n{span(LETTER, TEXT, ENTITY, NEGATED, COMPARED)}{SEVERAL}不]{{0,24}}?({_X})",
        rf"({_X})\s*(?:是|が|は|이|가|은|는|项是|為|为)?\s*(?:最)?(?:正确|正確|正しい|正解|정답|맞|对的|對的)",
        rf"({_X})\s*(?:ist (?:die )?richtig|est (?:la bonne|correct|la réponse)|es (?:la )?correct|é (?:a )?corret|è (?:la )?corrett|верн|правильн)",
    )
]
_HYPOTHETICAL = re.compile(
    r"\b(?:if|whether|suppose|assuming|assume|unless|let's (?:check|see|consider|examine|look)|let us|let me|check(?:ing)? (?:if|whether)|could be either|"
    r"either)\b"
)
_GUESSING = re.compile(r"\bif (?:i|you|one|we)(?:'d| had| have| must| were| was| need| do)\b")
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|in conclusion|to conclude|in summary|to sum up|to summarize|as a result|"
    r"so,|so\b|overall|ultimately|in the end|we can conclude|i conclude|this (?:means|suggests|indicates|implies)|finally)\b|因此|所以|따라서"
)
_SUBORDINATE = re.compile(
    r"\b(?:while|whereas|although|though|even though|because|since|as|unlike|compared|which|whose|where|than|if|whether|when|until|despite|"
    r"for example|such as|including|like|except|apart from|aside from|given that)\b"
)
_ASIDE = re.compile(r"\b(?:on the other hand|in contrast|by contrast|conversely|meanwhile|by comparison|in comparison)\b")
_BEST = re.compile(
    r"\b(?:most|best|closest|nearest|darkest|brightest|lightest|tightest|highest|correspond\w*|correct\w*|accurately|identical|exact(?:ly)?|"
    r"perfect(?:ly)?|real|authentic|genuine|missing|answer|moving|moves|moved|rotat\w+|likely|match\w*|belongs|equivalent|total|altogether)\b"
)
_LIKELY = re.compile(
    r"\b(?:more|better|closer|nearer|darker|brighter|lighter|tighter|similar\w*|same|fits?|precise\w*|tight\w*|shares?|sharing|resembl\w*|"
    r"align\w*|complet\w*|accurate|follows|seamless\w*|suitable|consistent|natural|preferable|superior|good|well|analogous|whole|entire\w*|full\w*|all\s+of)\b"
)
_BAD = re.compile(
    r"\b(?:not|\w+n't|cannot|never|no longer|fails?|failing|lacks?|lacking|less|least|wrong|incorrect\w*|false|different\w*|differs?|unlike|"
    r"too\s+\w+|extra|excess\w*|unnecessary|misses|missed|cuts?\s+off|incomplete\w*|loose\w*|generated|artificial\w*|synthetic|fake|unrealistic\w*|"
    r"manipulated|edited|altered|distort\w*|inconsisten\w*|unnatural\w*|mismatch\w*|unrelated|irrelevant|slightly off|only\s+(?:\w+\s+){0,2}(?:part\w*|portion|half|some|head|top|bottom|upper|lower)|farther|further)\b"
    r"|不|错|錯"
)
_REFUSES = re.compile(
    r"\b(?:(?:can ?not|can't|unable to|impossible to|not possible to|difficult to|hard to|don't know|do not know|not sure|unsure|uncertain|not clear|unclear)"
    r"|not enough information|insufficient|cannot be determined|can't be determined|sorry|none of|neither|no clear)\b"
)
_ANALYSIS = re.compile(
    r"\b(?:let's|let us|step by step|we need to|first,|to (?:determine|find|identify|solve|answer)|look(?:ing)? at (?:each|the))\b"
)
_DANGLING = re.compile(
    r"(?:\b(?:the|an?|of|on|in|at|to|and|or|is|are|with|that|which|has|as|by|for|from|it|its|this|but|because|be)|,)\s*$"
)
_SENTENCE = re.compile(r"(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bfig)[.!?]+(?=[\s)\]]|$)|[。！？;；]|\n+")
_CLAUSE = re.compile(r"[,:—–]|\s-\s|\b(?:and|but|so|while|whereas|because|since|although|though|however|yet)\b(?=\s)")
_NOT_BEFORE = re.compile(
    rf"(?:\b(?:not|never|neither|nor|rather than|instead of|except(?: for)?|excluding|without|other than|eliminat\w+|exclud\w+|rules? out|ruled out|"
    rf"ruling out|discard\w*|reject\w*|unlike|as opposed to|cannot be|no)\b|n't\b|不是|不选|不選|并非)"
    rf"\s*(?:(?!as\b|than\b|but\b|only\b|because\b|since\b|clear\b|sure\b|just\b|whether\b)[a-z']+\s+){{0,3}}(?:\(|option\s+|the\s+)?({_X})"
)
_NOT_AFTER = re.compile(
    rf"({_X})\s*(?:(?!because\b|since\b|as\b|that\b|which\b|who\b|and\b|but\b|while\b|whereas\b|though\b|although\b|than\b|more\b|most\b|if\b|or\b|"
    rf"where\b|due\b|with\b|without\b|to\b)[a-z']+\s+){{0,3}}?"
    r"(?:(?:is|are|was|does|do|did|has|have|can|could|would|should|may|might)?\s*(?:not|never|cannot)\b(?!\s+only)|\w+n't\b|(?:is|are|was|seems|appears|would be)\s+"
    r"(?:\w+ly\s+)?(?:wrong|incorrect|false|unlikely|out\b|too\b|less\b|eliminated|ruled|the wrong|an incorrect|a wrong|neither)|cannot\b|fails\b|lacks\b"
    r"|(?:是)?(?:错|錯|不))"
)
_COMPARED = re.compile(
    rf"\b(?:than|compared (?:to|with)|versus|vs\.?|over|relative to|in comparison (?:to|with)|contrary to|unlike|beside|besides|from)\s+"
    rf"(?:(?:that|the one|those|either|both|just|what|is|in|of|for|with|to|by|the|does|do)\s+){{0,4}}({_X})"
)


def decide(text: str, texts: OptionTexts) -> int | None:
    """The option that a marked text decides for, :data:`ALL` for several, ``None`` for none."""
    text = _weak_entities_left_out(text, texts)
    text = _unclaimed(text)
    sentences = list(_sentences(text))
    claims = [claim for number, sentence in enumerate(sentences) for claim in _claims(sentence, number, sentences, texts)]
    stated = [claim for claim in claims if claim.strength == Strength.STATED]
    if stated:
        return stated[-1].option
    leading = [claim for claim in claims if claim.strength == Strength.LEADING]
    concluded = [claim for claim in claims if claim.strength == Strength.CONCLUDED]
    if leading:
        differs = concluded and concluded[-1].option not in (leading[0].option, ALL)
        return ALL if differs or len({claim.option for claim in leading}) > 1 else leading[0].option
    if concluded:
        return concluded[-1].option
    return _weighed(claims, text)


def _weighed(claims: Sequence[Claim], text: str) -> int | None:
    """The option of the strongest claims that are not made aside; one that is just named must be the only one, in a whole text."""
    for strength in (Strength.BEST, Strength.LIKELY):
        for aside in (False, True):
            found = [claim for claim in claims if claim.strength == strength and claim.aside == aside]
            options = {claim.option for claim in found}
            single = options - {ALL}  # "both are similar, but the second is more so"
            if options:
                return single.pop() if len(single) == 1 else ALL
    options = {claim.option for claim in claims}
    if len(options) > 1:
        return ALL
    return None if not options or _REFUSES.search(text) or _cut_off(text) else options.pop()


def _cut_off(text: str) -> bool:
    """Whether a text ends amid a sentence, or seems to, at the beginning of its reasoning."""
    ended = text.rstrip()[-1:] in (*".!?)。]", "")
    return not ended and bool(_DANGLING.search(text) or _ANALYSIS.search(text) or (len(text) > 120 and _SENTENCE.search(text)))


def _weak_entities_left_out(text: str, texts: OptionTexts) -> str:
    """Without "Point B" and the like where options have no such labels and are named otherwise too: things of the picture."""
    if texts.labels or not re.search(f"[{span(ENTITY)}]", text):
        return text
    if texts.yes_no or re.search(f"[{span(LETTER, TEXT)}]", text):
        return re.sub(f"[{span(ENTITY)}]", "it", text)
    return text


def _unclaimed(text: str) -> str:
    """With places marked that are negated or only compared with."""

    def turned(kind: str) -> object:
        def turn(match: re.Match[str]) -> str:
            found = match.group(1)
            at = match.start(1) - match.start()
            said = match.group()
            new = place(kind, 0x3F if found == SEVERAL else option_of(found))
            return said[:at] + new + said[at + 1 :]

        return turn

    for pattern, kind in ((_COMPARED, COMPARED), (_NOT_BEFORE, NEGATED), (_NOT_AFTER, NEGATED)):
        text = pattern.sub(turned(kind), text)  # type: ignore[arg-type]
    return text


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    start: int
    end: str
    """What ends it."""
    last: bool
    fresh: bool
    """Whether it begins a line."""


def _sentences(text: str) -> Iterator[_Sentence]:
    """Sentences and lines; one that announces something (":", "is") goes on in the next line."""
    begin = 0
    spans = []
    for match in [*_SENTENCE.finditer(text), None]:
        end = len(text) if match is None else match.start()
        said = text[begin:end].strip()
        announces = match is not None and match.group().startswith("\n") and re.search(r"(?::|\bis|\banswer|=)$", said)
        if said and not announces:
            spans.append((begin, said, "" if match is None else match.group()))
        if not announces:
            begin = len(text) if match is None else match.end()
    for k, (start, said, end) in enumerate(spans):
        fresh = not text[:start].strip(" \t") or text[:start].rstrip(" \t").endswith("\n")
        yield _Sentence(text=" ".join(said.split()), start=start, end=end, last=k == len(spans) - 1, fresh=fresh)


def _claims(sentence: _Sentence, number: int, sentences: Sequence[_Sentence], texts: OptionTexts) -> Iterator[Claim]:
    said = sentence.text
    if not re.search(_X, said) or (sentence.end.startswith("?") and len(sentences) > 1):
        return
    hypothetical = _HYPOTHETICAL.search(said) and not _GUESSING.search(said)
    if not hypothetical:
        stated = list(_stated(said, sentence))
        if stated:
            yield from stated
            return
        if number == 0:
            yield from _leading(said, sentences)
        apart = sentence.end or sentence.fresh
        alone = apart and re.fullmatch(
            rf"(?:{_P}|\d|\b(?:so|therefore|thus|hence|definitely|probably|maybe|the|answer|final|option|it's|it|is|ok|okay|no)\b)*({_X}){_P}*",
            said,
        )
        if alone:
            end = number == 0 or sentence.last
            yield Claim(
                _option(alone.group(1)),
                Strength.LEADING if number == 0 else Strength.STATED if end else Strength.NAMED,
                sentence.start,
            )
            return
    named = list(_weigh(said, sentence.start, texts, bool(hypothetical)))
    if _CONCLUDES.search(said) and not hypothetical:
        main = {claim.option for claim in named if not claim.aside} or {claim.option for claim in named}
        best = max((claim.strength for claim in named if not claim.aside), default=Strength.NAMED)
        if len(main) > 1 and best > Strength.NAMED:
            main = {claim.option for claim in named if claim.strength == best and not claim.aside}
        if len(main) == 1:
            yield Claim(main.pop(), Strength.CONCLUDED, sentence.start)
            return
    yield from named


def _option(character: str) -> int:
    return ALL if kind_of(character) == SEVERAL or character == SEVERAL else option_of(character)


def _stated(said: str, sentence: _Sentence) -> Iterator[Claim]:
    """The last answer that a sentence states."""
    found = [(match.end(1), match.group(1)) for pattern in _STATED for match in pattern.finditer(said)]
    if found:
        at, character = max(found)
        yield Claim(_option(character), Strength.STATED, sentence.start + at)


def _leading(said: str, sentences: Sequence[_Sentence]) -> Iterator[Claim]:
    """The option with which a text begins, set apart: "(B)", "B: ...", "Yes, ..."; not the first of a list of options."""
    match = re.match(rf"{_P}*({_X})\s*(?:$|[).:,\]–—-]|because\b|since\b|as\b)", said)
    if not match:
        return
    first = match.group(1)
    rest = [re.match(rf"{_P}*({_OWN})\s*[).:,\]–—-]", other.text) for other in sentences[1:]]
    lead = [option_of(other.group(1)) for other in rest if other]
    option = _option(first)
    if kind_of(first) == ENTITY and not re.fullmatch(rf"{_P}*{_X}{_P}*", said):
        return
    listed = option == 0 and lead and lead[0] == 1
    if not listed:
        yield Claim(option, Strength.LEADING, 0)


def _weigh(said: str, start: int, texts: OptionTexts, hypothetical: bool) -> Iterator[Claim]:
    """Every place of a sentence with what is said of it there."""
    clauses = list(_clauses(said))
    for k, (before, clause) in enumerate(clauses):
        places = [p for p in re.finditer(_ANY, clause) if not _owned(p.group(), clause[p.end() :])]
        claimed = Strength.NAMED
        for n, match in enumerate(places):
            character = match.group()
            if not re.match(_X, character):
                continue
            left = clause[: match.start()] if n == 0 else ""
            right = clause[match.end() : places[n + 1].start() if n + 1 < len(places) else len(clause)]
            if n == len(places) - 1:
                for joint, other in clauses[k + 1 :]:
                    if re.search(_ANY, other) or _SUBORDINATE.fullmatch(joint.strip()):
                        break
                    right += f" {other}"
            strength, bad = _strength(left, right, option_of(character), character, texts)
            if bad:
                continue
            aside = bool(n > 0 or hypothetical or _ASIDE.search(said) or _SUBORDINATE.search(f"{before} {left}"))
            if n > 0 and strength == Strength.NAMED and claimed > Strength.NAMED:  # what the clause's subject is compared with
                continue
            claimed = max(claimed, strength)
            yield Claim(_option(character), strength, start, aside)


def _owned(character: str, behind: str) -> bool:
    """Whether several options only have what an option's text says: "A and B are about the same"."""
    return character == SEVERAL and bool(re.match(rf"{_W}*[{span(TEXT)}]", behind))


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


def _strength(left: str, right: str, option: int, character: str, texts: OptionTexts) -> tuple[Strength, bool]:
    """How strongly the words around a place speak for its option, and whether they speak against it."""
    if texts.yes_no and kind_of(character) == TEXT:
        return Strength.BEST, False
    near = re.split(_SUBORDINATE, right)[0] if _SUBORDINATE.search(right) else right
    predicate = texts.predicates.get(option, frozenset())
    if predicate and character != SEVERAL:
        said = set(re.findall(r"[a-z']+", f"{left} {near}"))
        if predicate <= said | {"to", "the", "camera", "is"}:
            return Strength.BEST, bool(re.search(r"\bnot\b|n't\b|\bless\b", near))
        if said & _opposites(predicate):
            return Strength.NAMED, True
    around = f"{left} . {near}"
    bad = _BAD.search(near)
    best, likely = _BEST.search(around), _LIKELY.search(around)
    if (
        bad
        and not (best and best.start() < bad.start() + len(left) + 3)
        and not (likely and likely.start() < bad.start() + len(left) + 3)
    ):
        return Strength.NAMED, True
    return (Strength.BEST if best else Strength.LIKELY if likely else Strength.NAMED), False


def _opposites(predicate: frozenset[str]) -> frozenset[str]:
    pairs = {
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
    return frozenset(word for said in predicate for word in pairs.get(said, "").split())
