"""The pack's front end as people see it: found by name, readable, in their language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import CPR, FITTED, LOAD, PREDICT, Front

LOCALES = Path(__file__).resolve().parents[2] / "locales"

pytestmark = pytest.mark.usefixtures("shelf")


def test_the_nodes_are_found_by_search(front: Front) -> None:
    front.start()
    front.js("app.graph.clear()")
    front.page.mouse.dblclick(700, 500)
    box = front.page.locator(".comfy-vue-node-search-container input, .p-autocomplete input").first
    box.wait_for()
    box.fill("predict ratios")
    front.page.wait_for_timeout(800)
    front.page.keyboard.press("Enter")
    front.until(f"app.graph.nodes.length === 1 && app.graph.nodes[0].type === '{PREDICT}'")
    front.says("Choose a CPR file in Load Ratios, or run Calibrate Ratios Grid once.")


def ask_for_panel(front: Front, address: str) -> None:
    front.js(f"app.extensionManager.setting.set('DCSolver.PanelAddress', '{address}')")
    front.js("app.extensionManager.command.execute('DCSolver.OpenPanel')")


def test_the_menu_opens_the_panel_or_says_how_to_start_it(front: Front) -> None:
    front.start()
    front.js("window.open = (address) => { window.opened = address; }")
    here = f"{front.comfy.url}/"
    front.page.route("**/gone", lambda route: route.abort())
    ask_for_panel(front, f"{here}gone")
    toast = front.page.locator(".p-toast-message:has-text('python . panel')")
    toast.wait_for()
    front.picture("panel-not-running")
    assert front.js("window.opened ?? ''") == ""
    ask_for_panel(front, here)
    front.until(f"window.opened === '{here}'")


def test_the_panel_is_opened_where_comfyui_forbids_to_look_for_it(front: Front) -> None:
    """With --disable-api-nodes, as here, its pages may ask no other server."""
    front.start()
    if "connect-src" not in front.js(
        "fetch('/').then((page) => page.headers.get('content-security-policy') ?? '')"
    ):
        pytest.skip("this ComfyUI forbids nothing")
    front.js("window.open = (address) => { window.opened = address; }")
    there = "http://127.0.0.1:9/"
    ask_for_panel(front, there)
    front.until(f"window.opened === '{there}'")


@pytest.mark.parametrize("palette", ["dark", "light"])
@pytest.mark.parametrize("vue", [False, True], ids=["classic", "vue"])
def test_both_themes_are_readable(front: Front, palette: str, vue: bool) -> None:
    front.start(**{"Comfy.ColorPalette": palette, "Comfy.VueNodes.Enabled": vue})
    name = f"{'vue' if vue else 'classic'}-{palette}"
    for width in (220, 300, 600):
        front.js(f"dc.pair('{CPR}', {width})")
        front.draws(FITTED.predict(5, 5.0).ratios)
        front.js(f"dc.move('{PREDICT}', 'edits', '{{\"5\":{{\"3\":1.4}}}}')")
        front.until(f"dc.drawn('{PREDICT}').reset")
        front.picture(f"{name}-{width}")
        contrasts = front.js(CONTRASTS)
        assert min(contrasts.values()) >= 4.5, contrasts
        cut = front.js(
            f"[...dc.chart('{PREDICT}').querySelectorAll('.dc-head, .dc-ranges')]"
            ".some((e) => e.scrollWidth > e.clientWidth + 1)"
        )
        assert not cut, "something does not fit"
        if not vue:
            front.until(f"dc.below('{LOAD}') <= 1")
    front.js(f"dc.move('{PREDICT}', 'steps', 12), dc.move('{PREDICT}', 'cfg', 9)")
    front.until(f"dc.drawn('{PREDICT}').outside")
    front.picture(f"{name}-outside")


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_curve_speaks_the_users_language(front: Front, language: str) -> None:
    content = (LOCALES / language / "main.json").read_text(encoding="utf-8")
    words = json.loads(content)["dcSolver"]
    front.start(**{"Comfy.Locale": language})
    front.js(f"dc.pair('{CPR}')")
    front.draws(FITTED.predict(5, 5.0).ratios)
    front.js(f"dc.move('{PREDICT}', 'edits', '{{\"5\":{{\"3\":1.4}}}}')")
    front.until(f"dc.drawn('{PREDICT}').reset")
    assert front.drawn()["title"] == words["{n} steps"].replace("{n}", "5") + " · CFG 5"
    assert front.page.locator(".dc-reset:visible").inner_text() == words["Reset"]
    front.picture(f"language-{language}")
    front.js(f"dc.node('{PREDICT}').disconnectInput(0)")
    front.says(words["Choose a CPR file in Load Ratios, or run Calibrate Ratios Grid once."])


# The contrast of every word in the chart to the chart's ground, by WCAG.
CONTRASTS = f"""(() => {{
  const chart = dc.chart('{PREDICT}');
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {{ willReadFrequently: true }});
  const paint = (colours) => {{ for (const [colour, alpha] of colours) {{
      canvas.globalAlpha = alpha; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }}
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); }};
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92
      : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, k) => s + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = getComputedStyle(chart).backgroundColor;
  const found = {{}};
  for (const name of ['dc-title', 'dc-tick', 'dc-step', 'dc-reset', 'dc-name', 'dc-range span']) {{
    const style = getComputedStyle(chart.querySelector('.' + name));
    const colour = name.endsWith('tick') || name.endsWith('step') ? style.fill : style.color;
    const [a, b] = [[[colour, style.opacity]], []].map((over) =>
        light(paint([[ground, 1], ...over])));
    found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }}
  return found;
}})()"""
