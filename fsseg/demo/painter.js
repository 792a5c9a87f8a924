// The canvas that supports are painted on.
import { part } from "./page.js";
const { element, props, trigger, watch } = part("painter");
// Labels, one byte a pixel, are the truth; colours are only how they are shown, so that edges are hard and exact.
const BACK = Number(element.dataset.back), MOST_UNDONE = 30, PAUSE = 120;
const $ = (name) => element.querySelector(name);
const image = $(".photo"), canvas = $(".paint"), stage = $(".stage"), context = canvas.getContext("2d");
let state = null, labels = null, width = 0, height = 0;
let label = 1, tool = "brush", path = [], undone = [], down = false, busy = 0, dirty = false, last = 0, open = 2;

const colours = () => [null, ...state.classes.map((one) => one.colour)];
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

function show(x0, y0, x1, y1) {  // a part of the labels, in colours; background striped, to be seen on any image
  x0 = Math.max(0, Math.floor(x0)); y0 = Math.max(0, Math.floor(y0));
  x1 = Math.min(width, Math.ceil(x1)); y1 = Math.min(height, Math.ceil(y1));
  if (x1 <= x0 || y1 <= y0) return;
  const word = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;  // as bytes lie in memory
  const table = colours().map((text) => (text ? word(rgb(text)) : 0));
  const stripe = Math.max(2, Math.round(width / 120)), dark = word([40, 40, 60]), light = word([235, 235, 240]);
  const part = context.createImageData(x1 - x0, y1 - y0), words = new Uint32Array(part.data.buffer);
  for (let y = y0, at = 0; y < y1; y++) for (let x = x0; x < x1; x++, at++) {
    const value = labels[y * width + x];
    if (value) words[at] = value < BACK ? table[value] : Math.floor((x + y) / stripe) % 2 ? dark : light;
  }
  context.putImageData(part, x0, y0);
}
const showAll = () => { if (labels) { show(0, 0, width, height); outlineBoxes(); } };

function outlineBoxes() {  // what a box means: all within the bounds of a colour
  const layer = $(".boxes");
  layer.replaceChildren();
  if (state.way !== "box" || !labels) return;
  const bounds = {};
  for (let y = 0, at = 0; y < height; y++) for (let x = 0; x < width; x++, at++) {
    const one = labels[at];
    if (!one || one === BACK) continue;
    const [left, top, right] = bounds[one] ?? [x, y, x];
    bounds[one] = [Math.min(left, x), top, Math.max(right, x), y];
  }
  for (const [one, [left, top, right, bottom]] of Object.entries(bounds)) {
    const box = document.createElement("div");
    const share = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign(box.style, { left: share(left, width), top: share(top, height), borderColor: colours()[one],
      width: share(right + 1 - left, width), height: share(bottom + 1 - top, height) });
    layer.append(box);
  }
}

const value = () => (tool === "erase" ? 0 : label);
const radius = () => Math.max(1, (Number($(".size").value) * Math.max(width, height)) / 400);

function disc(x, y, r) {
  for (let row = Math.max(0, Math.ceil(y - r)); row <= Math.min(height - 1, y + r); row++) {
    const half = Math.sqrt(Math.max(0, r * r - (row - y) ** 2));
    const from = Math.max(0, Math.ceil(x - half)), to = Math.min(width - 1, Math.floor(x + half));
    if (to >= from) labels.fill(value(), row * width + from, row * width + to + 1);
  }
}
function line([ax, ay], [bx, by]) {
  const r = radius(), steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / Math.max(1, r / 2)));
  for (let i = 0; i <= steps; i++) disc(ax + ((bx - ax) * i) / steps, ay + ((by - ay) * i) / steps, r);
  show(Math.min(ax, bx) - r - 1, Math.min(ay, by) - r - 1, Math.max(ax, bx) + r + 2, Math.max(ay, by) + r + 2);
}
function fill(points) {  // a polygon, row by row (even-odd)
  for (let y = 0; y < height; y++) {
    const cuts = [];
    points.forEach(([ax, ay], i) => {
      const [bx, by] = points[(i + 1) % points.length];
      if ((ay <= y + 0.5) !== (by <= y + 0.5)) cuts.push(ax + ((y + 0.5 - ay) * (bx - ax)) / (by - ay));
    });
    cuts.sort((a, b) => a - b);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      const from = Math.max(0, Math.round(cuts[i])), to = Math.min(width, Math.round(cuts[i + 1]));
      if (to > from) labels.fill(label, y * width + from, y * width + to);
    }
  }
}
function preview() {  // the outline or the box that is being drawn
  showAll();
  context.strokeStyle = colours()[label] || "#28283c";
  context.lineWidth = Math.max(1.5, width / 250);
  context.beginPath();
  if (tool === "box") context.rect(...path[0], path.at(-1)[0] - path[0][0], path.at(-1)[1] - path[0][1]);
  else path.forEach((point, i) => (i ? context.lineTo(...point) : context.moveTo(...point)));
  context.stroke();
}

function place(event) {
  const frame = canvas.getBoundingClientRect();
  return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
}
canvas.addEventListener("pointerdown", (event) => {
  if (!labels || event.button || state.way === "nothing") return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  undone = [...undone.slice(1 - MOST_UNDONE), labels.slice()];
  down = true; path = [place(event)];
  if (tool === "brush" || tool === "erase") { line(path[0], path[0]); send(); }
});
canvas.addEventListener("pointermove", (event) => {
  if (!down) return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) {
    path.push(place(one));
    if (tool === "brush" || tool === "erase") line(path.at(-2), path.at(-1));
  }
  if (tool === "brush" || tool === "erase") send(); else preview();
});
canvas.addEventListener("pointerup", () => {
  if (!down) return;
  down = false;
  if (tool === "outline" && path.length > 2) fill(path);
  if (tool === "box") {
    const [[ax, ay], [bx, by]] = [path[0], path.at(-1)];
    labels.forEach((old, at) => { if (old === label) labels[at] = 0; });  // a class has one box
    fill([[ax, ay], [bx, ay], [bx, by], [ax, by]]);
  }
  showAll(); send(true);
});

const scratch = document.createElement("canvas");
function packed() {
  scratch.width = width; scratch.height = height;
  const inside = scratch.getContext("2d", { willReadFrequently: true }), all = inside.createImageData(width, height);
  for (let i = 0, at = 0; i < labels.length; i++, at += 4) {
    all.data[at] = all.data[at + 1] = all.data[at + 2] = labels[i]; all.data[at + 3] = 255;
  }
  inside.putImageData(all, 0, 0);
  return scratch.toDataURL("image/png");
}
let later = 0;
function send(now = false) {  // one update at a time; what is painted meanwhile goes with the next
  dirty = true;
  clearTimeout(later);
  const wait = Math.max(busy ? busy + 5000 - Date.now() : 0, now ? 0 : last + PAUSE - Date.now());
  if (wait > 0) { later = setTimeout(send, wait); return; }
  dirty = false; busy = last = Date.now();
  trigger("stroke", { number: state.selected, layer: packed(), way: state.way });
}
watch("answered", () => { busy = 0; if (dirty) send(true); });
watch("hint", () => { $(".hint").textContent = props.hint; });

function chip(name, at, colour) {
  const made = document.createElement("label"), swatch = document.createElement("button");
  made.className = "chip" + (label === at ? " chosen" : "");
  swatch.type = "button"; swatch.className = "swatch" + (at === BACK ? " back" : "");
  if (colour) swatch.style.background = colour;
  swatch.title = `paint ${name}`;
  swatch.onclick = () => choose(at);
  made.append(swatch);
  if (at === BACK) { made.append(name); made.onclick = () => choose(at); return made; }
  const field = document.createElement("input");
  field.value = name; field.maxLength = 30; field.setAttribute("aria-label", `name of class ${at}`);
  field.onfocus = () => { if (label !== at) { label = at; mark(); } };
  field.onchange = () => {
    state.classes[at - 1].name = field.value;
    trigger("rename", { names: state.classes.map((one) => one.name) });
  };
  made.append(field);
  return made;
}
function choose(at) { label = at; if (tool === "erase") tool = "brush"; bar(); }
function mark() {
  element.querySelectorAll(".chip").forEach((one, i) => one.classList.toggle("chosen", i + 1 === (label === BACK ? $(".chips").dataset.count - 0 : label)));
}
function bar() {  // colours and tools that go with the way of painting
  const used = labels ? labels.reduce((most, one) => (one < BACK ? Math.max(most, one) : most), 0) : 0;
  open = Math.max(open, used, state.known);
  if (label === BACK && state.way !== "scribble") label = 1;
  const chips = state.classes.slice(0, open).map((one, i) => chip(one.name, i + 1, one.colour));
  if (state.way === "scribble") chips.push(chip("background", BACK));
  $(".chips").dataset.count = chips.length;
  if (open < BACK - 1) {
    const more = document.createElement("button");
    more.type = "button"; more.className = "more"; more.textContent = "+ class";
    more.onclick = () => { open += 1; label = open; bar(); };
    chips.push(more);
  }
  $(".chips").replaceChildren(...chips);
  const fits = { mask: ["outline", "brush"], scribble: ["brush"], box: ["box"], nothing: [] }[state.way];
  if (tool !== "erase" && !fits.includes(tool)) tool = fits.at(-1) ?? "brush";
  element.querySelectorAll("[data-tool]").forEach((one) => {
    one.hidden = one.dataset.tool !== "erase" && !fits.includes(one.dataset.tool);
    one.classList.toggle("chosen", one.dataset.tool === tool);
  });
  element.querySelectorAll("[data-way]").forEach((one) => one.classList.toggle("chosen", one.dataset.way === state.way));
  element.classList.toggle("nothing", state.way === "nothing");
  $(".sizing").hidden = tool === "outline" || tool === "box";
}
element.querySelectorAll("[data-tool]").forEach((one) => (one.onclick = () => { tool = one.dataset.tool; bar(); }));
element.querySelectorAll("[data-way]").forEach((one) => (one.onclick = () => {
  state.way = one.dataset.way; tool = "brush"; bar(); showAll(); if (labels) send(true);
}));
$(".undo").onclick = () => { if (undone.length) { labels = undone.pop(); showAll(); send(true); } };
$(".clear").onclick = () => { if (labels) { undone.push(labels.slice()); labels.fill(0); showAll(); send(true); } };
$(".away").onclick = () => { if (state.selected) trigger("remove", { number: state.selected }); };
element.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target.tagName !== "INPUT") $(".undo").click();
});

function fit() {
  if (!width) return;
  const scale = Math.min((element.clientWidth - 2) / width, 400 / height);
  stage.style.width = `${Math.round(width * scale)}px`; stage.style.height = `${Math.round(height * scale)}px`;
}
new ResizeObserver(fit).observe(element);

async function load() {
  state = props.value;
  element.classList.toggle("empty", !state.selected);
  $(".thumbs").replaceChildren(...state.supports.map((one) => {
    const thumb = document.createElement("button");
    thumb.type = "button"; thumb.className = "thumb" + (one.number === state.selected ? " chosen" : "");
    thumb.title = one.name; thumb.style.backgroundImage = `url(${one.picture})`;
    thumb.onclick = () => trigger("choose", { number: one.number });
    return thumb;
  }));
  undone = []; labels = null; width = state.width; height = state.height; dirty = false; busy = 0;
  bar();
  if (!state.selected) return;
  const wanted = state, painted = new Image();
  image.src = state.picture; painted.src = state.layer;
  await painted.decode();
  if (wanted !== state) return;
  canvas.width = scratch.width = width; canvas.height = scratch.height = height;
  const inside = scratch.getContext("2d", { willReadFrequently: true });
  inside.drawImage(painted, 0, 0);
  const sent = inside.getImageData(0, 0, width, height).data;
  labels = new Uint8Array(width * height).map((_, i) => sent[4 * i]);
  fit(); bar(); showAll();
}
watch("value", load);
