// The canvas that supports are painted on.
import { ask, part, say, trigger } from "./page.js";
import { remember } from "./keep.js";
import { bounds, box, fill, layer, line, packed, preview, show, take, unpacked } from "./layer.js";
import { begin, tools, update } from "./tools.js";
import { magnified, pan, pinch, reset } from "./zoom.js";
import "./keys.js";
const { element, props, watch } = part("painter");
const MOST_UNDONE = 30, PAUSE = 120, LARGE = 1_200_000;  // strokes; milliseconds between two updates; pixels
const $ = (name) => element.querySelector(name), canvas = $(".paint"), stage = $(".stage");
let state = null, path = [], undone = [], down = "", busy = 0, dirty = false, last = 0, later = 0;
const pointers = new Map();

const showAll = () => { if (layer.labels) { show(); outlineBoxes(); } };
const radius = () => Math.max(1, (Number($(".size").value) * Math.max(layer.width, layer.height)) / 400 / magnified());
const paints = () => tools.name === "brush" || tools.name === "erase";
const value = () => (tools.name === "erase" ? 0 : tools.label);

function outlineBoxes() {  // what a box means: all within the bounds of a colour
  const share = (part, whole) => `${(100 * part) / whole}%`, found = tools.way === "box" ? bounds() : {};
  $(".boxes").replaceChildren(...Object.entries(found).map(([one, [left, top, right, bottom]]) => {
    const frame = document.createElement("div");
    Object.assign(frame.style, { left: share(left, layer.width), top: share(top, layer.height), borderColor: layer.colours[one - 1],
      width: share(right + 1 - left, layer.width), height: share(bottom + 1 - top, layer.height) });
    return frame;
  }));
}
function place(event) {
  const frame = canvas.getBoundingClientRect();
  return [((event.clientX - frame.left) / frame.width) * layer.width, ((event.clientY - frame.top) / frame.height) * layer.height];
}
function keepUndo() { undone = [...undone.slice(1 - MOST_UNDONE), layer.labels.slice()]; }

canvas.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, event);
  if (pointers.size === 2) {  // two fingers zoom: what the first one has painted goes
    if (down === "paint" && undone.length) { layer.labels = undone.pop(); showAll(); send(true); }
    down = "pinch"; pinch([...pointers.values()]);
    return;
  }
  if (!layer.labels || pointers.size > 2) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (event.button === 1 || event.shiftKey) { down = "pan"; path = [[event.clientX, event.clientY]]; return; }
  if (event.button || tools.way === "nothing") return;
  keepUndo();
  down = "paint"; path = [place(event)];
  if (paints()) { line(path[0], path[0], radius(), value()); send(); }
});
canvas.addEventListener("pointermove", (event) => {
  if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event);
  if (down === "pinch") pinch([...pointers.values()]);
  if (down === "pan") { pan(event.clientX - path[0][0], event.clientY - path[0][1]); path = [[event.clientX, event.clientY]]; }
  if (down !== "paint") return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) {
    path.push(place(one));
    if (paints()) line(path.at(-2), path.at(-1), radius(), value());
  }
  if (paints()) send(); else if (tools.name !== "click") preview(tools.name, path, tools.label, Math.max(1.5, layer.width / 250 / magnified()));
});
function lift(event) {
  pointers.delete(event.pointerId);
  const was = down;
  if (was === "pinch") { pinch([]); if (!pointers.size) down = ""; return; }
  down = "";
  if (was !== "paint") return;
  if (tools.name === "click") { click(path[0], tools.label); return; }
  if (tools.name === "outline" && path.length > 2) fill(path, tools.label);
  if (tools.name === "box") box(path[0], path.at(-1), tools.label);
  showAll(); send(true);
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);

async function click(at, label) {
  const wanted = state, [x, y] = at, reach = Number($(".size").value) / 30;
  stage.classList.add("busy");
  const answer = await ask("/events/click", JSON.stringify({ number: state.selected, x, y, reach }));
  stage.classList.remove("busy");
  say(answer.message);
  if (!answer.region || wanted !== state) return;
  take(await unpacked(answer.region, layer.width, layer.height), label, at);
  update(); send(true);
}

function send(now = false) {  // one update at a time; what is painted meanwhile goes with the next
  dirty = true;
  clearTimeout(later);
  if (!now && layer.labels.length > LARGE) return;  // packing takes long: when the stroke ends
  const wait = Math.max(busy ? busy + 5000 - Date.now() : 0, now ? 0 : last + PAUSE - Date.now());
  if (wait > 0) { later = setTimeout(send, wait, now); return; }
  dirty = false; busy = last = Date.now();
  const painted = { layer: packed(), way: tools.way };
  remember(state.selected, painted);
  trigger("stroke", { number: state.selected, ...painted });
}
watch("answered", () => { busy = 0; if (dirty) send(true); });
watch("hint", () => { $(".hint").textContent = props.hint; });
addEventListener("pagehide", () => { if (dirty && state?.selected) remember(state.selected, { layer: packed(), way: tools.way }); });

begin({
  rename: (names) => { remember("names", names); trigger("rename", { names }); },
  changed: () => { showAll(); if (layer.labels) send(true); },
});
$(".undo").onclick = () => { if (undone.length) { layer.labels = undone.pop(); update(); showAll(); send(true); } };
$(".clear").onclick = () => { if (layer.labels) { keepUndo(); layer.labels.fill(0); showAll(); send(true); } };
$(".away").onclick = () => { if (state.selected) trigger("remove", { number: state.selected }); };

function fit() {
  if (!layer.width) return;
  const most = parseFloat(getComputedStyle(element).getPropertyValue("--stage"));
  const scale = Math.min((element.clientWidth - 2) / layer.width, (most * innerHeight) / 100 / layer.height);
  stage.style.width = `${Math.round(layer.width * scale)}px`; stage.style.height = `${Math.round(layer.height * scale)}px`;
}
new ResizeObserver(fit).observe(element);
addEventListener("resize", fit);

async function load() {
  const before = state?.selected;
  state = props.value;
  element.classList.toggle("empty", !state.selected);
  undone = []; layer.labels = null; layer.width = state.width; layer.height = state.height; dirty = false; busy = 0; clearTimeout(later);
  tools.way = state.way;
  update(state);
  if (before !== state.selected) reset();
  if (!state.selected) return;
  const wanted = state;
  $(".photo").src = state.picture;
  $(".guide").hidden = !state.guide; $(".guide").src = state.guide || "data:,";
  const labels = await unpacked(state.layer, state.width, state.height);
  if (wanted !== state) return;
  canvas.width = state.width; canvas.height = state.height;
  layer.labels = labels;
  fit(); update(); showAll();
}
watch("value", load);
