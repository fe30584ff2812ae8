"""A grammar of sentences that name options, for tests of readers: what is true of one letter must be true of each."""

from __future__ import annotations

import json
import re

COLOURS = ("red", "green", "blue", "yellow", "black", "white")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")

LETTER_FORMS = r"""
{x}|{x}.|({x})|({x}).|{x})|[{x}]|{x}:|{l}|({l})|{l}.|option {l}|Option {x}|option {x}.|Option ({x})|choice {x}|The answer is {x}
The answer is {x}.|The answer is ({x}).|The answer is: {x}|The answer is option {x}.|The correct answer is {x}.|Answer: {x}|Answer: ({x})
answer: {l}|Answer:\n{x}|Answer {x}|Final answer: {x}|The correct option is {x}.|The right choice is ({x}).|The best answer is {x}.
The answer would be {x}.|The answer must be {x}.|The answer to the question is {x}.|My answer is {x}.|My guess is {x}.|My best guess would be {x}.
{x} is correct.|{x} is right.|{x} is the correct answer.|{x} is the answer.|{x} is the right option.|{x} is true.|Option {x} is correct.
Option {x} is the right one.|({x}) is correct.|Point {x} is closer.|Box {x} is better.|Point {x} matches best.|{x} fits best.|{x} is closer.
{x} matches the image.|{x} seems most likely.|{x} appears to be correct.|{x} looks right.|{x} best describes the image.|{x} would be my answer.
{x} more accurately localizes the dog.|{x} clearly shows the dog.|{x} most likely corresponds to it.|Only {x} is correct.|It is {x}.|It's {x}.
It must be {x}.|It has to be {x}.|I think {x}.|I think it's {x}.|I think the answer is {x}.|I believe {x} is correct.|I choose {x}.|I would choose {x}.
I'd go with {x}.|I pick {x}.|I select option {x}.|I would guess {x}|I would guess {x}.|I guess {x}.|I'd say {x}.|If I had to guess, I'd say {x}.
If I had to choose, it would be {x}.|I am not sure, but I would guess {x}.|It is hard to tell, but {x} seems most likely.|Probably {x}.|So, {x}.
Therefore, {x}.|Therefore, the answer is {x}.|Thus, option {x} is correct.|Hence {x}.|So it is {x}.|In conclusion, {x} is the best choice.
Overall, {x} is the best match.|Looking at the image, {x} is correct.|In the image, {x} fits best.|Of the options, {x} fits best.
This matches option {x}.|This corresponds to {x}.|The one that fits best is {x}.|The letter is {x}.|{x}, because the car has it.|{x} because of the car.
{x} - I am sure.|{x}: that is what the image shows.|Let me think. The car has a colour.\n\n{x}|The car has a colour.\nAnswer: {x}
Step 1: look at the car.\nStep 2: see its colour.\nFinal answer: {x}|Not sure. {x}|答案是{x}|选{x}|答案：{x}|正确答案是{x}。|答えは{x}です|正解は{x}です。|정답은 {x}입니다
정답: {x}|La respuesta es {x}.|La réponse est {x}.|Die Antwort ist {x}.|A resposta é {x}.|La risposta è {x}.|Ответ: {x}
"""
"""Sentences that name one option by its letter: ``x``, or ``l`` for the small one."""

TEXT_FORMS = r"""
{t}|{t}.|The answer is {t}.|The answer is ({x}) {t}.|({x}) {t}|{x}. {t}|{x}: {t}|{x}) {t}|{x} {t}|{t} ({x})|Answer: {x}. {t}|Answer: {t}
The car is {t}.|The car in the image is {t}.|It is {t}.|I would say {t}.|The correct answer is:\n\n({x}) {t}|Therefore, the car is {t}.
Option {x}: {t}|Based on the image, the answer is ({x}) {t}.|The color of the car is {t}.
"""
"""Sentences that name one option by its text ``t``."""

CONTRASTS = r"""
The answer is not {y} but {x}.|Not {y} but {x}.|It is {x}, not {y}.|{x}, not {y}.|{x} rather than {y}.|{y} is wrong. {x} is right.|{y} is incorrect, {x} is correct.
Option {y} is incorrect. Option {x} is correct.|The answer is {x} because {y} is wrong.|{x}. {y} is wrong.|({x})\n\nExplanation: ({y}) does not fit.
{x}\n\n({y}) is not what the image shows.|First I thought the answer is {y}. In the end the answer is {x}.|Is it {y}? No, it is {x}.|Could it be {y}? No. The answer is {x}.
The answer is {y}. Wait, the answer is {x}.|{x} is better than {y}.|{x} fits better than {y}.|{x} fits, while {y} does not.|Box {x} is better, while Box {y} is worse.
Box {x} more accurately localizes the dog, while Box {y} does not.|Box {x} more accurately localizes the dog. Box {y}, on the other hand, includes much of the floor.
While {y} is close, {x} is the best match.|Although {y} looks good, {x} is correct.|{y} can be excluded, so the answer is {x}.|I would choose {x} instead of {y}.
Compared to {y}, {x} is better.|At first glance {y} seems right, but {x} is the correct answer.|Unlike {y}, {x} matches the image.|{y} is less likely than {x}.
"""
"""Sentences that name two options, of which ``x`` is the answer."""

UNDECIDED = r"""
{x} or {y}|{x} or {y}.|{x}, {y}|{x}/{y}|({x}) or ({y})|{x} and {y}|Both {x} and {y}|Either {x} or {y}.|Neither {x} nor {y}.|The answer is {x} or {y}.|The answer is ({x}) or ({y}).
The answer is either {x} or {y}.|It could be {x} or {y}.|I cannot tell whether it is {x} or {y}.|Both {x} and {y} are correct.|Both {x} and {y} are wrong.|{x} and {y} are possible.
It might be {x}, or it might be {y}.|Point {x} is on the wall. Point {y} is on the floor.|Point {x} or point {y}.|Is it {x} or {y}?
It is not {x}.|The answer is not {x}.|{x} is wrong.|{x} is incorrect.|Option {x} is not correct.|I would not choose {x}.|It cannot be {x}.|{x} does not match.|Not {x}.
If it were {x}, the car would look otherwise.|The car has {x}-shaped lights.|I cannot answer.|None of the above.|There is a car.|A car is parked.|A red-brick house.|A good question!
<think>The answer is {x}.|<think>{x} or {y}?</think>|Let's see. Option {x} says that the
"""
"""Sentences that name no single option."""

AROUND = (
    "<think>The answer is {z}. Or ({y})?</think>\n{s}",
    "The answer is {z}.</think>\n\n{s}",
    '"{s}"',
    "“{s}”",
    "**{s}**",
    "*{s}*",
    "\\boxed{{{s}}}",
    "$\\boxed{{\\text{{{s}}}}}$",
    "<answer>{s}</answer>",
    "<|begin_of_box|>{s}<|end_of_box|>",
    "{s}<|im_end|>",
    "  {s}\n",
    "### {s}",
)
"""What may stand around an answer ``s`` without changing it; ``y`` and ``z`` are letters of other options."""


def forms(text: str) -> list[str]:
    """The sentences of a list; a line end inside one is written as ``\\n``."""
    return [form.replace("\\n", "\n") for form in re.split(r"[|\n]", text.strip())]


def as_json(sentence: str, other: str) -> list[str]:
    """An answer as JSON, alone and beside a reasoning that names another option."""
    reasoning = f"The answer seems to be {other} at first."
    return [
        json.dumps({"answer": sentence}),
        json.dumps({"reasoning": reasoning, "answer": sentence}),
        json.dumps({"answer": sentence, "reasoning": reasoning}, indent=2),
        "```json\n" + json.dumps({"answer": sentence}) + "\n```",
    ]
