// Editing a curve by mouse, touch and keyboard.

const REACH = 18; // how near a point is taken hold of, in pixels of the chart
const MOST = 10;

const rounded = (value) => Math.round(Math.min(MOST, Math.max(-MOST, value)) * 1000) / 1000;

// `hands.set(index, value or null)` keeps a ratio, null takes the edit back; `hands.done()` ends what
// undo takes back at once; `hands.pan(event)` gets what is meant for the canvas.
export function makeEditable(chart, hands) {
  const { plot, points } = chart;
  let drag = null;

  function at(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(
      plot.getScreenCTM().inverse(),
    );
  }

  function nearest(event) {
    if (!chart.answer || !chart.editable) return null;
    const { x, y } = at(event);
    let [best, distance] = [null, REACH];
    chart.answer.ratios.forEach((ratio, k) => {
      const far = Math.hypot(chart.x(k) - x, chart.y(ratio) - y);
      if (k >= chart.answer.dc_order && far < distance) [best, distance] = [k, far];
    });
    return best;
  }

  function put(index, value) {
    chart.answer = { ...chart.answer, ratios: chart.answer.ratios.with(index, value) };
    chart.marked = index;
    chart.draw();
  }

  function end(keep) {
    if (!drag) return;
    const { index, start, moved } = drag;
    drag = null;
    hands.hold(false);
    if (!keep || !moved) put(index, start);
    else {
      hands.set(index, chart.answer.ratios[index]);
      hands.done();
    }
  }

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const index = nearest(event);
    if (index === null) return;
    plot.setPointerCapture(event.pointerId);
    const start = chart.answer.ratios[index];
    drag = { index, start, offset: chart.y(start) - at(event).y, from: event.clientY, moved: false };
    hands.hold(true);
    chart.mark(index);
    points.children[index].focus({ preventScroll: true });
    event.preventDefault();
  });
  plot.addEventListener("pointermove", (event) => {
    if (!drag) {
      const over = nearest(event) ?? focused();
      plot.style.cursor = nearest(event) === null ? "" : "ns-resize";
      if (over !== chart.marked) chart.mark(over);
      return;
    }
    drag.moved ||= Math.abs(event.clientY - drag.from) > 2;
    if (drag.moved) put(drag.index, rounded(chart.valueAt(at(event).y + drag.offset)));
  });
  plot.addEventListener("pointerup", () => end(true));
  plot.addEventListener("pointercancel", () => end(false));
  plot.addEventListener("lostpointercapture", () => end(false));
  plot.addEventListener("pointerleave", () => !drag && chart.mark(focused()));
  plot.addEventListener("dblclick", (event) => {
    const index = nearest(event);
    if (index === null) return;
    hands.set(index, null);
    hands.done();
  });
  chart.reset.addEventListener("click", () => {
    hands.clear();
    hands.done();
  });

  function focused() {
    const { activeElement } = document;
    return points.contains(activeElement) ? Number(activeElement.dataset.index) : null;
  }

  function goTo(index) {
    const { dc_order: first, steps } = chart.answer;
    chart.mark(Math.min(Math.max(index, first), steps - 1));
    chart.drawPoints();
    points.children[chart.marked].focus();
  }

  points.addEventListener("focusin", () => chart.mark(focused()));
  points.addEventListener("focusout", () => {
    hands.done();
    if (!drag) chart.value.textContent = "";
  });
  points.addEventListener("keydown", (event) => {
    const index = focused();
    if (index === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (event.shiftKey ? 0.1 : 0.01) * (event.key === "ArrowDown" ? -1 : 1);
    const byHand = chart.answer.edited?.includes(index);
    const value = rounded(chart.answer.ratios[index] + step);
    const actions = {
      ArrowLeft: () => goTo(index - 1),
      ArrowRight: () => goTo(index + 1),
      Home: () => goTo(0),
      End: () => goTo(chart.answer.steps - 1),
      ArrowUp: () => hands.set(index, value),
      ArrowDown: () => hands.set(index, value),
      Delete: () => byHand && hands.set(index, null),
      Backspace: () => byHand && hands.set(index, null),
      Escape: () => (drag ? end(false) : document.activeElement.blur()),
    };
    if (!actions[event.key]) return;
    // ComfyUI would move or delete the node.
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  });
  // One press of a key, however long, is one step of undo.
  points.addEventListener("keyup", () => hands.done());

  // The node must not be dragged, nor the canvas' menu opened, by what happens in the chart.
  for (const type of ["pointerdown", "pointermove", "pointerup", "mousedown", "dblclick"]) {
    chart.element.addEventListener(type, (event) => {
      if (event.button === 1 || event.buttons & 4) hands.pan(event);
      event.stopPropagation();
    });
  }
  chart.element.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    event.stopPropagation();
  });
  chart.element.addEventListener("wheel", (event) => hands.pan(event));
}
