// Files that are dropped or chosen, and files to save.
import { ask, fetched, say, send } from "./page.js";
import { remember } from "./keep.js";
const MEGABYTE = 2 ** 20, NAME = 100, $ = (id) => document.getElementById(id);
const most = Number(document.body.dataset.megabytes), largest = Number(document.body.dataset.file);
const stem = (name) => name.replace(/\.[^.]*$/, ""), ending = (name) => name.slice(stem(name).length).toLowerCase();
const query = (file) => `?name=${encodeURIComponent(file.name.slice(-NAME))}`;

async function annotate(file, text) {  // a JSON of labelme belongs to the support with its name
  let content;
  try { content = JSON.parse(text); } catch { return `${file.name} is no complete JSON file. Save it again.`; }
  if (content && typeof content === "object") delete content.imageData;
  const button = [...document.querySelectorAll("#thumbs .thumb")].findLast((one) => stem(one.dataset.name) === stem(file.name));
  if (!button) return `${file.name}: no support has this name. Drop its image together with it.`;
  const number = Number(button.dataset.number);
  const message = await send("/events/annotate", JSON.stringify({ number, name: file.name, json: JSON.stringify(content) }));
  const { kept } = await ask("/events/keep", JSON.stringify({ number }));
  if (kept) remember(number, { layer: kept.layer, way: kept.way });
  return message;
}
async function takeOne(where, file) {
  const kind = { ".fsseg": "segmenter", ".zip": "supports" }[ending(file.name)], allowed = kind ? largest : most;
  const size = file.size / MEGABYTE;
  if (size > allowed) return `${file.name} has ${size.toFixed(1)} MB; at most ${allowed} MB are allowed. Resize it.`;
  if (where === "queries" && (kind || ending(file.name) === ".json")) return `${file.name} belongs to the supports: drop it on the left.`;
  try {
    const data = await file.arrayBuffer();
    if (ending(file.name) === ".json") return await annotate(file, new TextDecoder().decode(data));
    if (!kind) return await send(`/pictures/${where}${query(file)}`, data, file);
    const message = await send(`/files/${kind}${query(file)}`, data);
    if (kind === "segmenter" && !message) remember("segmenter", { name: file.name, blob: file });
    return message;
  } catch { return `${file.name} cannot be read. Drop files, not folders.`; }
}
async function take(zone, files) {
  const label = zone.querySelector("span"), before = label.textContent, messages = [];
  for (const file of files.sort((a, b) => (ending(a.name) === ".json") - (ending(b.name) === ".json"))) {
    label.textContent = `Reading ${file.name}`;
    messages.push(await takeOne(zone.id, file));
  }
  label.textContent = before;
  say([...new Set(messages.filter(Boolean))].join(" "));
}
for (const zone of document.querySelectorAll(".drop")) {
  const input = zone.querySelector("input");
  input.onchange = () => { const files = [...input.files]; input.value = ""; take(zone, files); };
  zone.ondragover = (event) => { event.preventDefault(); zone.classList.add("over"); };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => { event.preventDefault(); zone.classList.remove("over"); take(zone, [...event.dataTransfer.files]); };
}
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());  // beside the zones

export function download(href, name) {
  const link = document.createElement("a");
  link.href = href; link.download = name;
  link.click();
}
$("save").onclick = () => send("/events/save", "{}");
$("learnt").onclick = async () => {
  const answer = await fetched("/learnt", "").catch(() => null);
  if (!answer?.ok) { say(answer ? await answer.text() : "The page does not answer. Is fsseg demo still running?"); return; }
  const address = URL.createObjectURL(await answer.blob());
  download(address, "learnt.fsseg");
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
};
