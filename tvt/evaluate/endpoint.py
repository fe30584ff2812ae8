"""Answers by a server of OpenAI's chat completions, such as vLLM, which serves adapters as models of their own names.

Pictures are decoded and scaled here, as for the model on this machine, and sent as PNG. Decoding is greedy. vLLM would take
sampling penalties from the model's generation_config.json; where the server is vLLM (``owned_by`` in its list of models), they
are switched off, and so is a model's reasoning where its chat template can.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from tvt.core.question import Question
from tvt.core.recipe import EndpointConfig, EvaluationConfig, ModelConfig
from tvt.errors import InputError, reason_of
from tvt.evaluate.adapters import CheckedAdapter
from tvt.evaluate.asking import Flush, ScoringRequest, writing
from tvt.evaluate.prompts import Profile
from tvt.evaluate.scorer import RawAnswer, conversation
from tvt.io import json_text
from tvt.io.adapter_file import WEIGHTS, read_config, read_header
from tvt.model.loading import load_processor
from tvt.model.picture import PictureError, decode

KEY = "OPENAI_API_KEY"
"""The environment variable whose value is sent as the key, where it is set."""
_OUTSIDE = re.compile(r"vision|visual|image|projector|connector|merger|aligner")
"""In names of tensors outside the language model."""
_LOCAL = "score it by evaluation.backend: local"
_AGAIN = (408, 429, 500, 502, 503, 504)
"""Statuses after which a request is sent again."""
_WAIT, _LONGEST_WAIT = 0.2, 10.0
"""Seconds before the second try of a request, doubled with every further one, and the most of them."""
_GREEDY = {"top_k": -1, "repetition_penalty": 1.0}
"""vLLM's names, beside those of OpenAI."""


def endpoint_faults(adapters: Iterable[CheckedAdapter | None]) -> list[str]:
    """Why adapters cannot be served, one line each: vLLM puts plain LoRA on the language model alone."""
    faults = []
    for adapter in filter(None, adapters):
        if adapter.full:
            faults.append(f"{adapter.name}: is a whole model, and an endpoint serves adapters; {_LOCAL}")
            continue
        config = read_config(adapter.folder)
        outside = sorted(name for name in read_header(adapter.folder / WEIGHTS)[0] if _OUTSIDE.search(name))
        reasons = [f"has layers in the vision tower, e.g. {outside[0]}"] if outside else []
        reasons += [f"has {name}" for name in ("use_dora", "modules_to_save") if config.get(name)]
        reasons += [f"is of kind {config.get('peft_type')}"] * (config.get("peft_type") != "LORA")
        faults += [f"{adapter.name}: {why}, which vLLM does not serve; {_LOCAL}" for why in reasons]
    return faults


def served_name(adapter: CheckedAdapter) -> str:
    """The name under which an adapter is looked for, and loaded: no other adapter has it."""
    return f"tvt-{adapter.digest[:16]}"


@dataclass
class _RefusedError(Exception):
    """An answer of the server that no further try would change."""

    status: int
    said: str


class Endpoint:
    """One server.

    Args:
        config: its address, and how patiently it is asked.

    Raises:
        InputError: no address.
    """

    def __init__(self, config: EndpointConfig) -> None:
        if config.address is None:
            raise InputError("evaluation.backend: endpoint needs an address; set runtime.endpoint.address")
        self.address, self._patience = config.address.rstrip("/"), config.patience_s
        # A proxy of the environment cannot reach this machine's own addresses.
        near = (urlsplit(self.address).hostname or "") in ("localhost", "127.0.0.1", "::1")
        self._opener = build_opener(ProxyHandler({})) if near else build_opener()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The server's answer, as JSON where it is; tries are repeated for so long as the recipe says.

        Raises:
            InputError: it did not answer in that time, or refused.
        """
        try:
            return self._tried(path, body)
        except _RefusedError as refused:
            step = "check its key" if refused.status in (401, 403) else "check runtime.endpoint and the server's log"
            raise InputError(f"{self.address}{path}: {refused.status}: {refused.said}; {step}") from refused

    def load_adapter(self, name: str, folder: str) -> bool:
        """Have vLLM load an adapter, by a path that the server must share; whether it did."""
        try:
            self._tried("/load_lora_adapter", {"lora_name": name, "lora_path": folder})
        except _RefusedError:
            return False
        return True

    def _tried(self, path: str, body: Mapping[str, Any] | None) -> Any:
        end, wait = time.monotonic() + self._patience, _WAIT
        while True:
            left = end - time.monotonic()
            try:
                return self._once(path, body, max(left, _WAIT))
            except HTTPError as error:
                said = _said(error)
                if error.code not in _AGAIN:
                    raise _RefusedError(error.code, said) from error
                fault = f"{error.code}: {said}"
            except (URLError, OSError, ValueError) as error:  # a connection that ends, or an answer that does
                fault = reason_of(error)
            if time.monotonic() + wait > end:
                step = "check the server, or raise runtime.endpoint.patience_s"
                raise InputError(f"{self.address}{path}: no answer in {self._patience:g} s ({fault}); {step}")
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _once(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        with self._opener.open(Request(self.address + path, data, headers), timeout=timeout) as answer:  # noqa: S310
            content = answer.read()
        return (
            json_text.loads(content) if "json" in answer.headers.get("Content-Type", "") else content.decode(errors="replace")
        )


def _said(error: HTTPError) -> str:
    """What a server says of an error, in a line."""
    text = error.read().decode(errors="replace")
    try:
        entry = json_text.loads(text)
        entry = entry.get("error", entry)
        text = entry.get("message", text) if isinstance(entry, dict) else str(entry)
    except (ValueError, AttributeError):
        pass
    return " ".join(str(text).split())[:300] or error.reason


class EndpointAsker:
    """Asks questions of a served model, several at once; its arguments are those of :class:`tvt.evaluate.asking.Asker`."""

    def __init__(  # noqa: PLR0917
        self,
        model: ModelConfig,
        settings: EvaluationConfig,
        profile: Profile,
        endpoint: EndpointConfig,
        note: Callable[[str], None],
        flush: Flush,
    ) -> None:
        self._model, self._settings, self._profile = model, settings, profile
        self._config, self._note, self._flush = endpoint, note, flush
        self._server = Endpoint(endpoint)
        self._served: dict[str, bool] | None = None
        self._more: dict[str, Any] = {}

    def prepare(self, samples: Iterable[Question]) -> None:
        """See that the server has the base model.

        Raises:
            InputError: no server, or another model.
        """
        if self._served is not None:
            return
        self._served = self._listed()
        self._name(None)
        vllm = any(self._served.values())
        template = str(load_processor(self._model).chat_template)
        self._more = dict(_GREEDY) if vllm else {}
        if vllm and "enable_thinking" in template:
            self._more["chat_template_kwargs"] = {"enable_thinking": False}
        if not vllm:
            self._note(f"{self._server.address}: is not vLLM, so that penalties and reasoning are as the server sets them")

    def ask(self, request: ScoringRequest, answered: Callable[[int], None]) -> None:
        """Ask all questions of a request and write the answers; what was answered is written also when an error ends it.

        Raises:
            InputError: the server lacks the adapter, does not answer in time, or refuses.
        """
        self.prepare(())
        name = self._name(request.adapter)
        pool = ThreadPoolExecutor(self._config.concurrency)
        try:
            with writing(request.store, self._flush) as write:
                for (task, (questions, digests)), answers in zip(
                    request.batches, self._answers(pool, name, request), strict=True
                ):
                    write([(d, task, q.id, a) for d, q, a in zip(digests, questions, answers, strict=True)])
                    answered(len(answers))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answers(self, pool: ThreadPoolExecutor, name: str, request: ScoringRequest) -> Iterator[Sequence[RawAnswer]]:
        waiting = [[pool.submit(self._answer, name, q) for q in questions] for _, (questions, _) in request.batches]
        for futures in waiting:
            yield [future.result() for future in futures]

    def _answer(self, name: str, question: Question) -> RawAnswer:
        body = {
            "model": name,
            "messages": self._messages(question),
            "max_tokens": self._settings.max_new_tokens,
            "temperature": 0.0,
            "top_p": 1.0,
            **self._more,
        }
        reply = self._server.ask("/chat/completions", body)
        try:
            return RawAnswer(raw=str(reply["choices"][0]["message"]["content"] or ""))
        except (KeyError, IndexError, TypeError) as error:
            step = "name the address of chat completions, as http://HOST:PORT/v1"
            raise InputError(f"{self._server.address}: gave no answer of a chat completion; {step}") from error

    def _messages(self, question: Question) -> list[dict[str, Any]]:
        """The conversation in OpenAI's form."""
        images = iter(question.images)
        messages = []
        for message in conversation(question, self._profile):
            content = message["content"]
            if not isinstance(content, str):
                content = [self._image(next(images), question) if b["type"] == "image" else dict(b) for b in content]
            messages.append({"role": message["role"], "content": content})
        return messages

    def _image(self, content: bytes, question: Question) -> dict[str, Any]:
        stream = io.BytesIO()
        try:
            decode(content, self._model.max_pixels, self._model.min_pixels).save(stream, "PNG")
        except PictureError as error:
            line = f"{question.task}, question {question.id}: an image cannot be read"
            raise InputError(f"{line}: {error}; replace the file") from error
        url = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}

    def _listed(self) -> dict[str, bool]:
        """The models that the server has, and whether it is vLLM that has them."""
        reply = self._server.ask("/models")
        try:
            return {str(entry["id"]): entry.get("owned_by") == "vllm" for entry in reply["data"]}
        except (KeyError, TypeError, AttributeError) as error:
            step = "name the address of chat completions, as http://HOST:PORT/v1"
            raise InputError(f"{self._server.address}/models: lists no models; {step}") from error

    def _name(self, adapter: CheckedAdapter | None) -> str:
        """What the server calls the base model or an adapter, which it is asked to load if it has not.

        Raises:
            InputError: it has not got it, and did not load it.
        """
        served = self._served or {}
        key = self._model.model_name_or_path if adapter is None else str(adapter.folder)
        name = self._config.models.get(key) or (key if adapter is None else served_name(adapter))
        if name in served:
            return name
        if adapter is None:
            known = ", ".join(served) or "none"
            step = "start it with --served-model-name, or name it in runtime.endpoint.models"
            raise InputError(f"{self._server.address}: serves no model '{name}' (it serves {known}); {step}")
        folder = str(adapter.folder.absolute())
        if not self._server.load_adapter(name, folder):
            step = f"start it with --enable-lora --lora-modules {name}={folder}, or with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            raise InputError(f"{self._server.address}: does not serve {adapter.name} as '{name}'; {step}")
        self._served = {**served, name: True}
        return name
