// The wheel over a text inside a node.

import { app } from "../../scripts/app.js";

// A long text scrolls by the wheel; over any other the wheel is the canvas'.
export function letScroll(element) {
  // By this mark Vue nodes know that they must not take the wheel.
  const mark = () => (element.dataset.captureWheel = element.scrollHeight > element.clientHeight);
  element.addEventListener("pointerenter", mark);
  new MutationObserver(mark).observe(element, { childList: true });
  element.addEventListener("wheel", (event) => {
    const scrolls = element.dataset.captureWheel === "true" && !event.ctrlKey && !event.metaKey;
    if (!scrolls) app.canvas.processMouseWheel(event); // a pinch, which has ctrlKey, too
    event.stopPropagation();
  });
}
