"""``evaluation.backend: endpoint`` against a small server of chat completions on this machine."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

from click.testing import CliRunner
from PIL import Image

import tiny_vlm
from tvt.cli.evaluate import command
from tvt.core.recipe import EndpointConfig, EvaluationConfig, ModelConfig, Recipe
from tvt.data.questions.files import write_jsonl
from tvt.errors import InputError
from tvt.evaluate.adapters import check_adapter
from tvt.evaluate.endpoint import KEY, served_name
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.prompts import read_profile
from tvt.evaluate.store import run_identity
from tvt.model.picture import decode

GENERATE = EvaluationConfig(mode="generate", backend="endpoint")


class Server(ThreadingHTTPServer):
    """Answers "B" to every question, of any model that it has."""

    daemon_threads = True

    def __init__(self, *models: str, owner: str = "vllm", loads: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.owner, self.loads = list(models), owner, loads
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.failures: list[int] = []
        """Statuses of the next answers."""
        self.broken = False
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        data = [{"id": name, "owned_by": self.server.owner} for name in self.server.models]
        self.reply(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.keys.append(self.headers.get("Authorization"))
            status = self.server.failures.pop(0) if self.server.failures else 200
        if status != 200:
            self.reply(status, {"error": {"message": f"no\nluck {status}"}})
        elif self.path.endswith("/load_lora_adapter"):
            if self.server.loads and Path(body["lora_path"]).is_dir():
                self.server.models.append(body["lora_name"])
                self.reply(200, "Success")
            else:
                self.reply(404, {"detail": "Not Found"})
        elif self.server.broken:
            self.reply(200, {"choices": []})
        else:
            with self.server.lock:
                self.server.asked.append(body)
            self.reply(200, {"choices": [{"message": {"role": "assistant", "content": "B"}}]})

    def reply(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save_adapter(model, tmp_path_factory.mktemp("adapter") / "a", 0)


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    with Server(str(model)) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def evaluator(base: Path, server: Server, folder: Path, **options: Any) -> Evaluator:
    config = ModelConfig(model_name_or_path=str(base), dtype="float32", **options.pop("model", {}))
    endpoint = EndpointConfig(address=server.address, **{"patience_s": 5, **options})
    return Evaluator(config, GENERATE, folder, endpoint=endpoint)


def test_base_and_adapter_are_asked_by_their_names(model: Path, adapter: Path, server: Server, tmp_path: Path) -> None:
    questions = tiny_vlm.questions("t", 5, images=(1, 0, 2))
    asking = evaluator(model, server, tmp_path / "answers", model={"max_pixels": 1000})
    base, tuned = asking.evaluate([None, adapter], {"t": questions})
    assert [item.outcome.raw for item in base["t"].items] == ["B"] * 5
    assert base["t"].correct == sum(question.answer == "B" for question in questions)
    assert base["t"].key != tuned["t"].key
    name = served_name(check_adapter(adapter))
    assert [body["model"] for body in server.asked] == [str(model)] * 5 + [name] * 5
    by_text = {body["messages"][0]["content"][-1]["text"]: body for body in server.asked[:5]}
    for question in questions:
        body = by_text[question.prompt]
        assert (body["temperature"], body["max_tokens"], body["repetition_penalty"]) == (0, 16, 1)
        *shown, _ = body["messages"][0]["content"]
        pictures = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in shown]
        sent = [Image.open(io.BytesIO(content)).tobytes() for content in pictures]
        assert sent == [decode(image, 1000).tobytes() for image in question.images]
    asking.evaluate([None, adapter], {"t": questions})
    assert len(server.asked) == 10, "what is stored is not asked again"


def test_a_busy_server_is_asked_again_and_an_absent_one_only_for_so_long(model: Path, server: Server, tmp_path: Path) -> None:
    server.failures = [503, 429, 500]
    (cells,) = evaluator(model, server, tmp_path / "a", concurrency=1).evaluate([None], {"t": tiny_vlm.questions("t", 2)})
    assert cells["t"].total == 2
    server.failures = [503] * 1000
    with pytest.raises(InputError, match=r"no answer in 0.5 s \(503: no luck 503\); check the server, or raise"):
        evaluator(model, server, tmp_path / "b", patience_s=0.5).evaluate([None], {"t": tiny_vlm.questions("t", 2)})


def test_what_was_answered_before_an_error_is_not_asked_again(model: Path, server: Server, tmp_path: Path) -> None:
    questions = tiny_vlm.questions("t", 40, images=(0,))
    server.failures = [200] * 20 + [400]
    with pytest.raises(InputError, match=r"400: no luck 400; check runtime\.endpoint") as error:
        evaluator(model, server, tmp_path / "a", concurrency=1).evaluate([None], {"t": questions})
    assert len(error.value.faults) == 1
    (cells,) = evaluator(model, server, tmp_path / "a", concurrency=1).evaluate([None], {"t": questions})
    assert cells["t"].total == 40
    assert cells["t"].asked < 40


def test_errors_are_a_line_with_the_next_step(model: Path, adapter: Path, server: Server, tmp_path: Path) -> None:
    questions = {"t": tiny_vlm.questions("t", 1)}
    server.loads = False
    with pytest.raises(InputError, match=re.escape(f"--lora-modules {served_name(check_adapter(adapter))}={adapter}")):
        evaluator(model, server, tmp_path).evaluate([adapter], questions)
    server.broken = True
    with pytest.raises(InputError, match="gave no answer of a chat completion"):
        evaluator(model, server, tmp_path).evaluate([None], questions)
    server.models = ["other"]
    with pytest.raises(InputError, match=r"serves no model .* \(it serves other\); start it with --served-model-name"):
        evaluator(model, server, tmp_path).evaluate([None], questions)
    server.broken = False
    named = evaluator(model, server, tmp_path, models={str(model): "other"}).evaluate([None], questions)
    assert named[0]["t"].total == 1


def test_a_key_is_sent_where_the_environment_has_one(
    model: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    evaluator(model, server, tmp_path / "a").evaluate([None], {"t": tiny_vlm.questions("t", 1)})
    monkeypatch.setenv(KEY, "abc")
    evaluator(model, server, tmp_path / "b").evaluate([None], {"t": tiny_vlm.questions("t", 1)})
    assert server.keys == [None, "Bearer abc"]


def test_adapters_outside_the_language_model_are_refused_before_anything_is_asked(
    model: Path, adapter: Path, server: Server, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / "adapter_model.safetensors")
    moved = {name.replace("language_model", "vision_tower"): tensor for name, tensor in tensors.items()}
    save_file(moved, outside / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="has layers in the vision tower"):
        evaluator(model, server, tmp_path / "a").evaluate([None, outside], {"t": tiny_vlm.questions("t", 1)})
    assert not server.asked


def test_identities_differ_and_likelihoods_are_refused(model: Path) -> None:
    config, profile = ModelConfig(model_name_or_path=str(model)), read_profile("dataset")
    local = EvaluationConfig(mode="generate")
    assert "backend" not in run_identity(config, {}, local, profile, None)["scoring"], "as it was before there was one"
    assert run_identity(config, {}, GENERATE, profile, None)["scoring"]["backend"] == "endpoint"
    with pytest.raises(ValueError, match="which mode options needs"):
        EvaluationConfig(backend="endpoint")
    parts: dict[str, Any] = {"name": "n", "sources": ["t"], "targets": ["t"], "model": {"model_name_or_path": str(model)}}
    parts["evaluation"] = {"mode": "generate", "backend": "endpoint"}
    with pytest.raises(ValueError, match=r"set runtime.endpoint.address"):
        Recipe.model_validate(parts)
    parts["runtime"] = {"endpoint": {"address": "http://127.0.0.1:1/v1"}}
    assert Recipe.model_validate(parts).evaluation_identity()["backend"] == "endpoint"
    for more, says in (({"method": "full"}, "training.method is full"), ({"parts": ["vision_tower"]}, "language model alone")):
        with pytest.raises(ValueError, match=says):
            Recipe.model_validate({**parts, "training": more})


def test_the_command(model: Path, server: Server, tmp_path: Path) -> None:
    write_jsonl(tiny_vlm.questions("t", 3), tmp_path / "t.jsonl")
    given = ["--model", str(model), "--questions", f"t={tmp_path / 't.jsonl'}", "--endpoint", server.address, "--json"]
    refused = CliRunner().invoke(command, [*given, "-o", str(tmp_path / "e")])
    assert isinstance(refused.exception, InputError)
    assert "add --mode generate" in str(refused.exception)
    result = CliRunner().invoke(command, [*given, "--mode", "generate", "-o", str(tmp_path / "e")])
    assert json.loads(result.stdout)["results"][0]["tasks"]["t"]["letters"] == {"B": 3}
