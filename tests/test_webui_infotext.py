"""The infotext of the WebUI: what ran is written under the image and pasted back."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from dc_solver.solvers import SOLVERS
from hypothesis import given
from hypothesis import strategies as st
from webui_adapter import FIVE, adapter, pasted_back

pytestmark = pytest.mark.usefixtures("webui")

NUMBERS = st.floats(-9, 9).map(lambda v: float(f"{v:.6g}"))
RATIOS = st.none() | st.lists(NUMBERS, min_size=3, max_size=12).filter(lambda v: set(v) != {1.0})
SETTINGS = st.fixed_dictionaries({
    "solver": st.sampled_from([name for name, entry in SOLVERS.items() if entry.compensates]),
    "order": st.sampled_from([1, 2, 3]),
    "dc_order": st.sampled_from([1, 2, 3]),
    "variant": st.sampled_from(["bh1", "bh2"]),
    "lower_order": st.sampled_from([True, "final", False]),
    "first_corrector": st.booleans(),
    "variable": st.sampled_from(["t", "lambda"]),
    "corrector": st.sampled_from([None, True, False]),
})  # fmt: skip
PASS = st.tuples(RATIOS, SETTINGS)


def ratios_choice(found: RatioSchedule | None) -> Any:
    from dc_solver.ratios.lookup import Choice

    return Choice(found, None)


@given(PASS, PASS)
def test_what_ran_comes_back_from_what_is_written(first: Any, second: Any) -> None:
    """Of an image and of its hires pass, each with settings of its own, as files have them."""
    asked, infotext = adapter("asked"), adapter("infotext")
    p: Any = host.Processing()
    ran = []
    for hires, (values, settings) in enumerate((first, second)):
        p.is_hr_pass = bool(hires)
        found = None if values is None else RatioSchedule(tuple(values), **settings)
        ran.append(found or RatioSchedule((), **settings))
        wanted = asked.Asked(**settings) if found is None else asked.Asked()
        infotext.note_run(p, ratios_choice(found), wanted)
    back = pasted_back(p)
    for hires, expected in enumerate(ran):
        wanted, typed = back.of_pass(bool(hires))
        again = RatioSchedule(typed, **wanted.settings)
        assert again.ratios == expected.ratios
        free = () if typed else ("dc_order", "variable")
        there, here = (ratios.settings_of(one) for one in (expected, again))
        assert {k: v for k, v in here.items() if k not in free} == {
            k: v for k, v in there.items() if k not in free
        }


def test_the_infotext_pastes_back_as_the_same_settings() -> None:
    asked, infotext = adapter("asked"), adapter("infotext")
    wanted = asked.asked_in("As typed", "none", 3, 1, "bh1", "final", "no first corrector, lambda",
                            "unip", "on", 0, 0.1, 0.05, 0.0078, 200, 0.995)  # fmt: skip
    p = host.Processing()
    used = RatioSchedule(FIVE, **wanted.settings)
    infotext.note_run(p, ratios_choice(used), wanted)
    assert p.extra_generation_params == {
        "DC ratios": "1 1 1.12 0.91 1.05", "DC order": 3, "DC K": 1, "DC variant": "bh1",
        "DC lower order": "final", "DC more": "no first corrector, lambda", "DC solver": "unip",
        "DC corrector": "on", "DC threshold": 0.995,
    }  # fmt: skip
    back = pasted_back(p)
    assert back.of_pass(False) == (replace(wanted, passes=back.passes), FIVE)
    # An image without the keys puts the defaults back; one of another sampler changes nothing.
    plain = {"DC ratios": "none"}
    assert infotext.pasted("DC order")(plain) == 2 and infotext.pasted("DC order")({}) is None
    assert infotext.pasted("DC rtol")(plain) == 0.05
    assert infotext.pasted_choice({"Sampler": "Euler"}) is None


def test_every_field_of_the_accordion_is_pasted() -> None:
    names = list(inspect.signature(adapter("asked").asked_in).parameters)
    fields = ["choice", "typed", *adapter("infotext").FIELDS]
    assert names == [{"k": "dc_order"}.get(name, name) for name in fields]


def test_a_second_batch_writes_its_own_notes() -> None:
    infotext, asked = adapter("infotext"), adapter("asked")
    p = host.Processing()
    odd = replace(RatioSchedule(FIVE), order=3)
    infotext.note_run(p, ratios_choice(odd), asked.Asked())
    assert p.extra_generation_params["DC order"] == 3
    infotext.note_run(p, ratios_choice(RatioSchedule(FIVE)), asked.Asked())
    assert p.extra_generation_params == {"DC ratios": "1 1 1.12 0.91 1.05"}
