"""What tiny random models are made of: tokenizers, a language model's settings, a processor's files as hubs hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Values = dict[str, Any]


def byte_words(special: list[str], *, end: str, pad: str, begin: str | None = None, **marks: str) -> Any:
    """A tokenizer of bytes and special tokens.

    Args:
        special: its special tokens.
        end: which of them ends an answer.
        pad: which of them pads.
        begin: which of them the tokenizer puts before every text, if any.
        marks: names that processors ask the tokenizer for, e.g. ``image_token``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return _finished(bpe, special, end, pad, begin, marks)


def llama_words(special: list[str], *, end: str, pad: str, begin: str, **marks: str) -> Any:
    """A tokenizer in Llama 2's form: a space is ``▁`` and stands before the first word, and ``▁A`` is one token."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = ["▁", *(chr(code) for code in range(33, 127))]
    pieces = [f"<0x{code:02X}>" for code in range(256)]
    capitals = [f"▁{chr(code)}" for code in range(ord("A"), ord("Z") + 1)]
    vocabulary = {piece: index for index, piece in enumerate(["<unk>", *pieces, *letters, *capitals])}
    merges = [("▁", capital[1]) for capital in capitals]
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _finished(bpe, special, end, pad, begin, {"unk_token": "<unk>", **marks})


def _finished(bpe: Any, special: list[str], end: str, pad: str, begin: str | None, marks: dict[str, str]) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    bpe.add_special_tokens(special)
    usual = {"unk_token": marks.pop("unk_token")} if "unk_token" in marks else {}
    if begin is not None:
        usual["bos_token"] = begin
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, bpe.token_to_id(begin))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, pad_token=pad, extra_special_tokens=marks, **usual)


def text_settings(vocabulary: int, **more: Any) -> Values:
    """A language model of two narrow layers."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        **more,
    }


def tower(**more: Any) -> Values:
    """A vision tower of two narrow layers, for pictures of 56 pixels."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        **more,
    }


def ends(words: Any) -> Values:
    """A model's tokens for padding, beginning and end."""
    return {name: getattr(words, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def save(
    folder: Path,
    model: Any,
    words: Any,
    *,
    processor: str,
    template: str,
    image: Values,
    settings: Values | None = None,
    video: Values | None = None,
) -> Path:
    """Write a model with the files of its processor in the form that hubs have them.

    Args:
        folder: where to.
        model: the model.
        words: its tokenizer.
        processor: the processor's class.
        template: the chat template.
        image: ``preprocessor_config.json``.
        settings: more for ``processor_config.json``.
        video: ``video_preprocessor_config.json``, if there is one.
    """
    _stir(model)
    model.save_pretrained(folder)
    words.chat_template = template
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": processor, **(settings or {})}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"processor_class": processor, **image}))
    if video is not None:
        (folder / "video_preprocessor_config.json").write_text(json.dumps({"processor_class": processor, **video}))
    return folder


def _stir(model: Any) -> None:
    """Make random what some families start at zero: gates and projections that would let nothing of a picture through."""
    import torch

    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)


def turns(*, before: str = "", user: str, image: str, text: str = "{text}", end: str, model: str, answer: str, ask: str) -> str:
    """A chat template.

    Args:
        before: begins the conversation.
        user: begins a user's turn.
        image: stands for an image.
        text: stands for a text, ``{text}`` in it.
        end: ends a user's turn.
        model: begins a model's turn,
        answer: and ends it.
        ask: where the model shall answer.
    """
    first, _, last = text.partition("{text}")
    begin = f"{{% if message['role'] == 'assistant' %}}{model}{{% else %}}{user}{{% endif %}}"
    close = f"{{% if message['role'] == 'assistant' %}}{answer}{{% else %}}{end}{{% endif %}}"
    return (
        f"{before}{{% for message in messages %}}{begin}"
        f"{{% if message['content'] is string %}}{first}{{{{ message['content'] }}}}{last}{{% else %}}"
        f"{{% for item in message['content'] %}}{{% if item['type'] == 'image' %}}{image}"
        f"{{% elif item['type'] == 'text' %}}{first}{{{{ item['text'] }}}}{last}{{% endif %}}{{% endfor %}}{{% endif %}}"
        f"{close}{{% endfor %}}{{% if add_generation_prompt %}}{ask}{{% endif %}}"
    )
