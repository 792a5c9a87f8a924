// Keys of the canvas; they do nothing while a name is typed.
import { pan, reset, zoom } from "./zoom.js";
const $ = (name) => document.querySelector(`#painter ${name}`), STEP = 60;

function size(by) { $(".size").value = Number($(".size").value) + by; $(".size").dispatchEvent(new Event("input")); }
const keys = {
  "[": () => size(-1), "]": () => size(1), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: reset,
  ArrowLeft: () => pan(STEP, 0), ArrowRight: () => pan(-STEP, 0), ArrowUp: () => pan(0, STEP), ArrowDown: () => pan(0, -STEP),
  c: () => pick("click"), b: () => pick("brush"), e: () => pick("erase"), u: () => $(".undo").click(),
};
function pick(tool) { const one = $(`[data-tool=${tool}]`); if (!one.hidden) one.click(); }
addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") || document.querySelector("#painter.empty") || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z") { event.preventDefault(); $(".undo").click(); }
    return;
  }
  const digit = Number(event.key);
  if (digit >= 1 && digit <= 9) { document.querySelectorAll("#painter .chip .swatch")[digit - 1]?.click(); return; }
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
