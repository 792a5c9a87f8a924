// All queries with their predictions. One after the other is updated, while the shown one is updated at once.
import { ask, buttons, part, trigger } from "./page.js";
const { element, props, watch } = part("grid");
const tiles = buttons(element, (number) => trigger("pick", { number }));
const PAUSE = 30, shown = new Map(), stale = new Set();  // milliseconds; tile by number
let running = false;

function draw() {
  const { all, selected } = props.value;
  for (const number of [...shown.keys()]) if (!all.some((one) => one.number === number)) { shown.delete(number); stale.delete(number); }
  const next = stale.size ? null : propose();
  tiles(all.map((one) => one.number)).forEach((tile, i) => {
    const one = all[i], picture = shown.get(one.number);
    tile.className = "tile" + (one.number === selected ? " chosen" : "");
    tile.title = one.name;
    tile.style.backgroundImage = `url(${picture?.picture ?? one.picture})`;
    if (picture?.uncertainty != null) tile.title += `: uncertainty ${picture.uncertainty.toFixed(2)}`;
    const badge = Object.assign(document.createElement("span"), { className: "badge", textContent: "label next" });
    tile.replaceChildren(...(one.number === next ? [badge] : []));
  });
}
function propose() {  // the query with the largest uncertainty that is no support yet
  const doubts = [...shown].filter(([, one]) => one.uncertainty != null).sort((a, b) => b[1].uncertainty - a[1].uncertainty);
  return doubts.length > 1 ? doubts[0][0] : null;
}
async function run() {
  if (running) return;
  running = true;
  while (stale.size) {
    const [number] = stale;
    stale.delete(number);
    const { tile } = await ask("/events/tile", JSON.stringify({ number }));
    if (tile) { shown.set(number, tile); draw(); }
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
  running = false;
}
watch("value", () => {
  draw();
});
watch("calm", () => {
  const known = props.value.all.every((one) => shown.has(one.number));
  if (props.calm && known) return;
  props.value.all.forEach((one) => stale.add(one.number));
  run();
});
