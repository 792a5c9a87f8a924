// The painted layer: one label a pixel is the truth; colours are only how labels are shown, so that edges are exact.
export const layer = { labels: null, width: 0, height: 0, colours: [] };
export const BACK = Number(document.getElementById("painter").dataset.back);
const canvas = document.querySelector("#painter .paint"), context = canvas.getContext("2d");
const scratch = document.createElement("canvas");
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

export function show(x0 = 0, y0 = 0, x1 = layer.width, y1 = layer.height) {  // background is striped, to be seen on any image
  const { labels, width, height } = layer;
  x0 = Math.max(0, Math.floor(x0)); y0 = Math.max(0, Math.floor(y0));
  x1 = Math.min(width, Math.ceil(x1)); y1 = Math.min(height, Math.ceil(y1));
  if (!labels || x1 <= x0 || y1 <= y0) return;
  const word = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;  // as bytes lie in memory
  const table = [0, ...layer.colours.map((text) => word(rgb(text)))];
  const stripe = Math.max(2, Math.round(width / 120)), dark = word([40, 40, 60]), light = word([235, 235, 240]);
  const part = context.createImageData(x1 - x0, y1 - y0), words = new Uint32Array(part.data.buffer);
  for (let y = y0, at = 0; y < y1; y++) for (let x = x0; x < x1; x++, at++) {
    const value = labels[y * width + x];
    if (value) words[at] = value < BACK ? table[value] : Math.floor((x + y) / stripe) % 2 ? dark : light;
  }
  context.putImageData(part, x0, y0);
}

function disc(x, y, r, label) {
  const { labels, width, height } = layer;
  for (let row = Math.max(0, Math.ceil(y - r)); row <= Math.min(height - 1, y + r); row++) {
    const half = Math.sqrt(Math.max(0, r * r - (row - y) ** 2));
    const from = Math.max(0, Math.ceil(x - half)), to = Math.min(width - 1, Math.floor(x + half));
    if (to >= from) labels.fill(label, row * width + from, row * width + to + 1);
  }
}

export function line([ax, ay], [bx, by], r, label) {
  const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / Math.max(1, r / 2)));
  for (let i = 0; i <= steps; i++) disc(ax + ((bx - ax) * i) / steps, ay + ((by - ay) * i) / steps, r, label);
  show(Math.min(ax, bx) - r - 1, Math.min(ay, by) - r - 1, Math.max(ax, bx) + r + 2, Math.max(ay, by) + r + 2);
}

export function fill(points, label) {  // a polygon, row by row (even-odd)
  const { labels, width, height } = layer;
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

export function box([ax, ay], [bx, by], label) {  // a class has one box
  layer.labels.forEach((old, at) => { if (old === label) layer.labels[at] = 0; });
  fill([[ax, ay], [bx, ay], [bx, by], [ax, by]], label);
}

export function take(region, label, [x, y]) {  // paint a region over what has the label of the clicked pixel, or none
  const there = layer.labels[Math.floor(y) * layer.width + Math.floor(x)];
  region.forEach((inside, at) => { if (inside && [0, there].includes(layer.labels[at])) layer.labels[at] = label; });
  show();
}

export function bounds() {  // left, top, right, bottom of each label
  const found = {};
  for (let y = 0, at = 0; y < layer.height; y++) for (let x = 0; x < layer.width; x++, at++) {
    const one = layer.labels[at];
    if (!one || one === BACK) continue;
    const [left, top, right] = found[one] ?? [x, y, x];
    found[one] = [Math.min(left, x), top, Math.max(right, x), y];
  }
  return found;
}

export function preview(tool, path, label, thick) {  // the outline or the box that is being drawn
  show();
  context.strokeStyle = layer.colours[label - 1] || "#28283c";
  context.lineWidth = thick;
  context.beginPath();
  if (tool === "box") context.rect(...path[0], path.at(-1)[0] - path[0][0], path.at(-1)[1] - path[0][1]);
  else path.forEach((point, i) => (i ? context.lineTo(...point) : context.moveTo(...point)));
  context.stroke();
}

export function packed() {  // the layer as a PNG
  scratch.width = layer.width; scratch.height = layer.height;
  const inside = scratch.getContext("2d", { willReadFrequently: true });
  const all = inside.createImageData(layer.width, layer.height), words = new Uint32Array(all.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = 0xff000000 | (layer.labels[i] * 0x010101);
  inside.putImageData(all, 0, 0);
  return scratch.toDataURL("image/png");
}

export async function unpacked(source, width, height) {  // labels of a PNG
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  scratch.width = width; scratch.height = height;
  const inside = scratch.getContext("2d", { willReadFrequently: true });
  inside.drawImage(picture, 0, 0);
  const sent = inside.getImageData(0, 0, width, height).data;
  return new Uint8Array(width * height).map((_, i) => sent[4 * i]);
}
