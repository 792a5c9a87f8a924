// Thumbnails of the supports: which one is shown, which classes were learnt from it, and which one is not painted yet.
import { buttons, part, trigger } from "./page.js";
import { layer } from "./layer.js";
const { element, props, watch } = part("thumbs");
const thumbs = buttons(element, (number) => trigger("choose", { number }));
const SAYS = { used: "", painted: "not used yet: background or object is missing", empty: "not painted yet" };

function draw() {
  const all = props.value ?? [];
  thumbs(all.map((one) => one.number)).forEach((thumb, i) => {
    const one = all[i], dots = document.createElement("span");
    thumb.className = "thumb" + (one.number === props.selected ? " chosen" : "");
    thumb.dataset.name = one.name; thumb.dataset.state = one.state;
    thumb.title = [one.name, SAYS[one.state]].filter(Boolean).join(": ");
    thumb.style.backgroundImage = `url(${one.picture})`;
    dots.className = "dots";
    dots.append(...(one.state === "used" && !one.labels.length ? ["none"] : one.labels.map((label) => {
      const dot = document.createElement("i");
      dot.style.background = layer.colours[label - 1];
      return dot;
    })), ...(one.state === "used" ? [] : [one.state === "empty" ? "paint me" : "more"]));
    thumb.replaceChildren(dots);
  });
}
watch("value", draw);
watch("selected", draw);
