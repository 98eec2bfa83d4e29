// Quality decides most of what a calibration leaves of the error, so it is shown under the schedule.
// In files its value stays the last one, where it came when there was no choice before.

const NAME = "quality";
const BEFORE = "first_seed"; // what it is shown above
const AFTER = "corrector"; // what it follows in files

export function keepQualityLast(nodeType) {
  const { configure, onSerialize } = nodeType.prototype;
  nodeType.prototype.configure = function (saved, ...rest) {
    const values = saved.widgets_values;
    const { widget, place, last } = placesOf(this);
    if (!Array.isArray(values) || !widget) return configure.call(this, saved, ...rest);
    const shown = [...values];
    const quality = last in shown ? shown.splice(last, 1)[0] : widget.value;
    shown.splice(place, 0, quality);
    return configure.call(this, { ...saved, widgets_values: shown }, ...rest);
  };
  nodeType.prototype.onSerialize = function (saved) {
    const { widget, place, last } = placesOf(this);
    if (widget) saved.widgets_values?.splice(last, 0, ...saved.widgets_values.splice(place, 1));
    return onSerialize?.apply(this, arguments);
  };
}

// The widget, and where its value is in the node and in a file.
function placesOf({ widgets = [] }) {
  const kept = widgets.filter((widget) => widget.serialize !== false);
  const place = kept.findIndex((widget) => widget.name === NAME);
  const others = kept.filter((widget) => widget.name !== NAME);
  const last = others.findIndex((widget) => widget.name === AFTER) + 1;
  return { widget: kept[place], place, last };
}

export function showQuality({ widgets }) {
  const at = widgets.findIndex((widget) => widget.name === NAME);
  const [quality] = widgets.splice(at, 1);
  widgets.splice(widgets.findIndex((widget) => widget.name === BEFORE), 0, quality);
}
