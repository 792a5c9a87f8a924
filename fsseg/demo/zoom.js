// Zoom and pan of the canvas: wheel, two fingers, keys and buttons.
const stage = document.querySelector("#painter .stage"), view = document.querySelector("#painter .view");
const percent = document.querySelector("#painter .percent"), MOST = 40;
let scale = 1, left = 0, top = 0, fingers = null;

function apply() {
  const { clientWidth: width, clientHeight: height } = stage;
  left = Math.min(0, Math.max(left, width - width * scale));  // no gap beside the image
  top = Math.min(0, Math.max(top, height - height * scale));
  view.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
  percent.textContent = `${scale.toFixed(scale < 10 ? 1 : 0)}x`;
  stage.classList.toggle("near", scale > 1);
}
export function reset() { scale = 1; left = top = 0; apply(); }
export function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {  // the point under x, y stays
  const next = Math.min(MOST, Math.max(1, scale * factor));
  left = x - ((x - left) * next) / scale; top = y - ((y - top) * next) / scale;
  scale = next;
  apply();
}
export function pan(x, y) { left += x; top += y; apply(); }
export const magnified = () => scale;

export function pinch(pointers) {  // two fingers: their middle stays under them
  if (pointers.length !== 2) { fingers = null; return; }
  const frame = stage.getBoundingClientRect(), [one, other] = pointers;
  const now = { x: (one.clientX + other.clientX) / 2 - frame.left, y: (one.clientY + other.clientY) / 2 - frame.top,
    apart: Math.max(10, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)) };
  if (fingers) { pan(now.x - fingers.x, now.y - fingers.y); zoom(now.apart / fingers.apart, now.x, now.y); }
  fingers = now;
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const frame = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });
for (const [name, factor] of [["in", 1.5], ["out", 1 / 1.5]])
  document.querySelector(`#painter .zoom-${name}`).onclick = () => zoom(factor);
percent.onclick = reset;
new ResizeObserver(apply).observe(stage);
