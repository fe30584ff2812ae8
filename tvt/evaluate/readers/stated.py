"""Answers that are stated outright: "the answer is B", "B is correct", "I would guess B", also in other languages."""

from __future__ import annotations

import re

from tvt.evaluate.readers.places import NAMING, OWN, PLACE, WORD, option_of

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
    found = [(match.end(1), match.group(1)) for pattern in _STATED for match in pattern.finditer(sentence)]
    if not found:
        found = [(match.end(1), match.group(1)) for match in _HEDGED.finditer(sentence)]
        if len({option_of(character) for _, character in found}) > 1:
            return None
    return max(found) if found else None
