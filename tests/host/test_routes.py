"""What the front end asks ComfyUI's server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule

NAME = "a model.safetensors"
SIGMAS = (14.0, 5.0, 2.0, 1.0, 0.5, 0.0)


def calibrated(steps: int, cfg: float) -> RatioSchedule:
    later = [1 + 0.02 * i * cfg * (-1) ** i for i in range(2, steps)]
    return RatioSchedule(
        (1.0, 1.0, *later), cfg=cfg, sigmas=SIGMAS if steps == 5 else None,
        identity=Identity(scheduler="simple"),
    )  # fmt: skip


FITTED = ratios.fit_cpr([calibrated(n, w) for n in (5, 8, 10) for w in (2.0, 4.0, 7.0)])


def ask(comfy: ComfyServer, **query: Any) -> tuple[int, dict[str, Any]]:
    address = f"{comfy.url}/dc_solver/curve?{urlencode(query)}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_regression_is_evaluated(comfy: ComfyServer) -> None:
    ratios.save(FITTED, comfy.library / NAME)
    for steps, cfg in ((5, 4.0), (7, 5.5), (3, 9.0)):
        status, answer = ask(comfy, file=NAME, steps=steps, cfg=cfg)
        expected = FITTED.predict(steps, cfg)
        assert status == 200 and answer["kind"] == "cpr"
        assert answer["before"] == answer["ratios"] == pytest.approx(list(expected.ratios))
        assert (answer["steps"], answer["cfg"], answer["dc_order"]) == (steps, cfg, 2)
        assert (answer["steps_range"], answer["cfg_range"]) == ([5, 10], [2.0, 7.0])
        assert answer["inside"] == {"steps": steps >= 5, "cfg": cfg <= 7}
        assert answer["notes"] == answer["warnings"] == list(expected.notes)
        assert answer["sigmas"] == (list(SIGMAS) if steps == 5 else None)
    _, ranges = ask(comfy, file=NAME)
    assert set(ranges) == {"kind", "steps_range", "cfg_range", "ratio_range"}


def test_edits_are_applied_by_the_server(comfy: ComfyServer) -> None:
    ratios.save(FITTED, comfy.library / NAME)
    edits = '{"5": {"3": 0.5, "1": 2, "9": 2}, "6": {"3": 9}}'
    _, answer = ask(comfy, file=NAME, steps=5, cfg=4, edits=edits)
    assert answer["before"] == pytest.approx(list(FITTED.predict(5, 4.0).ratios))
    assert answer["ratios"][3] == 0.5 and answer["ratios"][1] == 1.0
    assert answer["edited"] == [3]
    assert len(answer["notes"]) == 2 and "left out: steps 2, 10" in answer["warnings"][0]


def test_a_file_that_changes_is_read_again(comfy: ComfyServer) -> None:
    for last in (1.2, 1.3):
        found = RatioSchedule((1.0, 1.0, last), cfg=7.0)
        ratios.save(found, comfy.library / NAME)
        for _ in range(2):
            status, answer = ask(comfy, file=NAME, edits=json.dumps({NAME: {}}))
            assert (status, answer["kind"]) == (200, "ratios")
            assert answer["ratios"] == [1.0, 1.0, last]


@pytest.mark.parametrize(
    ("status", "words", "query"),
    [
        (400, "either file or cpr", {}),
        (400, "either file or cpr", {"file": NAME, "cpr": "0"}),
        (404, "no longer in memory", {"cpr": "0" * 32, "steps": 5, "cfg": 5}),
        (404, "is not in this library", {"file": "gone.safetensors"}),
        (404, "is not in this library", {"file": "../../comfy.db"}),
        (404, "is not in this library", {"file": "/etc/passwd"}),
        (404, "is not in this library", {"file": ""}),
        (400, "cannot be read", {"file": "broken.safetensors"}),
        (400, "steps: expected", {"file": NAME, "cfg": 5}),
        (400, "steps: expected", {"file": NAME, "steps": 0, "cfg": 5}),
        (400, "steps: expected", {"file": NAME, "steps": "1e3", "cfg": 5}),
        (400, "steps: expected", {"file": NAME, "steps": 1001, "cfg": 5}),
        (400, "cfg: expected", {"file": NAME, "steps": 5}),
        (400, "cfg: expected", {"file": NAME, "steps": 5, "cfg": "nan"}),
        (400, "cfg: expected", {"file": NAME, "steps": 5, "cfg": -1}),
        (400, "edits: expected", {"file": NAME, "steps": 5, "cfg": 5, "edits": "{"}),
    ],
)
def test_what_has_no_answer_is_refused(
    comfy: ComfyServer, status: int, words: str, query: dict[str, Any]
) -> None:
    ratios.save(FITTED, comfy.library / NAME)
    (comfy.library / "broken.safetensors").write_bytes(b"nothing of ours")
    got, answer = ask(comfy, **query)
    assert got == status and set(answer) == {"error"}
    assert words in answer["error"] and "Traceback" not in answer["error"]
    assert str(comfy.folder) not in answer["error"]


def test_bad_edits_are_refused_before_anything_runs(comfy: ComfyServer) -> None:
    ratios.save(FITTED, comfy.library / NAME)
    graph = {
        "load": {"class_type": "DCSolverLoadRatios", "inputs": {"file": NAME}},
        "predict": {
            "class_type": "DCSolverPredictRatios",
            "inputs": {"cpr": ["load", 1], "steps": 5, "cfg": 5.0, "edits": '{"5": {"3": 99}}'},
        },
        "plot": {"class_type": "DCSolverPlotRatios", "inputs": {"ratios": ["predict", 0]}},
    }
    with pytest.raises(RuntimeError, match="expected a ratio from -10 to 10"):
        comfy.run(graph)
    graph["predict"]["inputs"]["edits"] = '{"5": {"3": 0.625}}'  # type: ignore[index]
    assert "0.625" in comfy.run(graph)["plot"]["text"][0]
