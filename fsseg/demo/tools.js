// Colours, ways and tools of the canvas.
import { BACK, layer } from "./layer.js";
export const tools = { label: 1, name: "click", way: "scribble" };
const element = document.getElementById("painter"), $ = (name) => element.querySelector(name);
const FIT = { scribble: ["click", "brush"], mask: ["outline", "brush"], box: ["box"], nothing: [] };
let open = 1, classes = [], acts = {};

export function begin(made) { acts = made; }  // rename(names) and changed(), of painter.js
export function update(state) {
  if (state) { classes = state.classes; layer.colours = classes.map((one) => one.colour); open = Math.max(open, state.known); }
  bar();
}
function chip(name, at, colour) {
  const made = document.createElement("label"), swatch = document.createElement("button");
  made.className = "chip" + (tools.label === at ? " chosen" : "");
  made.dataset.label = at;
  swatch.type = "button"; swatch.className = "swatch" + (at === BACK ? " back" : "");
  if (colour) swatch.style.background = colour;
  swatch.title = `paint ${name}`;
  swatch.onclick = () => choose(at);
  made.append(swatch);
  if (at === BACK) { made.append(name); made.onclick = () => choose(at); return made; }
  const field = document.createElement("input");
  field.value = name; field.maxLength = 30; field.setAttribute("aria-label", `name of class ${at}`);
  field.onfocus = () => { if (tools.label !== at) { tools.label = at; mark(); } };
  field.onkeydown = (event) => { if (event.key === "Enter") field.blur(); };
  field.onchange = () => { classes[at - 1].name = field.value; acts.rename(classes.map((one) => one.name)); };
  made.append(field);
  return made;
}
function choose(at) { tools.label = at; if (tools.name === "erase") tools.name = FIT[tools.way][0]; bar(); }
function mark() {
  element.querySelectorAll(".chip").forEach((one) => one.classList.toggle("chosen", Number(one.dataset.label) === tools.label));
}
function bar() {
  const used = layer.labels ? layer.labels.reduce((most, one) => (one < BACK ? Math.max(most, one) : most), 0) : 0;
  open = Math.max(open, used);
  if (tools.label === BACK && tools.way !== "scribble") tools.label = 1;
  const chips = classes.slice(0, open).map((one, i) => chip(one.name, i + 1, one.colour));
  if (tools.way === "scribble") chips.push(chip("background", BACK));
  if (open < BACK - 1) {
    const more = document.createElement("button");
    more.type = "button"; more.className = "more"; more.textContent = "+ class";
    more.onclick = () => { open += 1; tools.label = open; bar(); };
    chips.push(more);
  }
  $(".chips").replaceChildren(...chips);
  const fits = FIT[tools.way];
  if (tools.name !== "erase" && !fits.includes(tools.name)) tools.name = fits[0] ?? "brush";
  element.querySelectorAll("[data-tool]").forEach((one) => {
    one.hidden = one.dataset.tool !== "erase" && !fits.includes(one.dataset.tool);
    one.classList.toggle("chosen", one.dataset.tool === tools.name);
  });
  element.querySelectorAll("[data-way]").forEach((one) => one.classList.toggle("chosen", one.dataset.way === tools.way));
  element.classList.toggle("nothing", tools.way === "nothing");
  $(".sizing").hidden = ["outline", "box"].includes(tools.name);
  $(".what").textContent = tools.name === "click" ? "reach" : "size";
}
element.querySelectorAll("[data-tool]").forEach((one) => (one.onclick = () => { tools.name = one.dataset.tool; bar(); }));
element.querySelectorAll("[data-way]").forEach((one) => (one.onclick = () => {
  tools.way = one.dataset.way; tools.name = FIT[tools.way][0] ?? "brush"; bar(); acts.changed();
}));
