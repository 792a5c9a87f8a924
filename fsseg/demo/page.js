// Sends events to the server in order and shows the answers. Parts of the page: painter.js, result.js, grid.js, thumbs.js.
import { adopt, forget, offer, restore, sync } from "./keep.js";
const parts = {}, $ = (id) => document.getElementById(id);
const CALM = ["choose", "pick", "maps", "rename", "correct"].map((name) => `/events/${name}`);  // change no prediction
let key = "", opened = 0, queue = new Promise((resolve) => { addEventListener("load", resolve); }).then(() => begin());

export function part(id) {  // element, properties and watchers of a part, for its script
  const watchers = {}, props = {};
  const watch = (name, act) => { (watchers[name] ??= []).push(act); };
  parts[id] = (changes) => {
    Object.assign(props, changes);
    for (const name of Object.keys(changes)) (watchers[name] ?? []).forEach((act) => act());
  };
  return { element: $(id), props, watch };
}
export function buttons(element, press) {  // keeps a button for each number: a redraw between press and release loses no click
  const made = new Map();
  return (numbers) => {
    const kept = numbers.map((number) => {
      if (!made.has(number)) {
        made.set(number, Object.assign(document.createElement("button"), { type: "button", onclick: () => press(number) }));
        made.get(number).dataset.number = number;
      }
      return made.get(number);
    });
    for (const number of [...made.keys()]) if (!numbers.includes(number)) made.delete(number);
    if (kept.length !== element.children.length || kept.some((one, i) => one !== element.children[i])) element.replaceChildren(...kept);
    return kept;
  };
}
export const trigger = (name, data) => send(`/events/${name}`, JSON.stringify(data));

export async function fetched(path, body) {  // the answer as it comes
  return fetch(path, { method: "POST", headers: { "X-Session": key }, body });
}
export async function ask(path, body) {
  try {
    const answer = await fetched(path, body);
    const type = answer.headers.get("content-type") ?? "";
    const said = type.startsWith("application/json") ? await answer.json() : { message: await answer.text() };
    return { ...said, ended: answer.status === 410 };
  } catch {
    return { message: "The page does not answer. Is fsseg demo still running? Your work is kept in this browser." };
  }
}

export function say(text, kind = "message") {
  const line = document.createElement("div");
  line.className = kind; line.textContent = text;
  $("message").replaceChildren(...(text ? [line] : []));
}

function show(answer, calm = false) {
  say(answer.message);
  if (answer.supports) {
    parts.thumbs({ value: answer.supports });
    document.body.classList.toggle("begun", answer.supports.length + answer.queries.all.length > 0);
    document.body.classList.toggle("both", answer.supports.length * answer.queries.all.length > 0);
  }
  if (answer.painter) { parts.painter({ value: answer.painter }); parts.thumbs({ selected: answer.painter.selected }); }
  if (answer.hint !== undefined) parts.painter({ hint: answer.hint });
  if (answer.result !== undefined) $("result").innerHTML = answer.result;  // the server escapes all text in it
  if (answer.queries) parts.grid({ value: answer.queries, calm });
  if (answer.archive) parts.result({ archive: answer.archive, archive_name: answer.archive_name });
}

export function send(path, body, file) {  // file: the image that the body is, to be kept
  const meant = opened;
  queue = queue.then(async () => {
    if (meant && meant !== opened) return "";  // numbers of a session that has ended; its strokes are kept
    let answer = await ask(path, body);
    if (answer.ended) {
      await open();
      if (!file) return "";
      answer = await ask(path, body);
    }
    show(answer, CALM.includes(path));
    await kept(sync(answer, file, ask));
    if (path === "/events/stroke") parts.painter({ answered: true });
    return answer.message;
  });
  return queue;
}
async function kept(work) {
  try { await work; } catch {
    say("This browser does not keep your work (its storage is full or blocked): save the supports before you leave.");
  }
}

async function open() {  // a session, with what this tab held
  const answer = await ask("/session");
  key = answer.key ?? ""; opened += 1;
  show(answer);
  if (!key) return;
  let back = null;
  await kept((async () => { back = await restore(ask, (text) => say(text, "note")); })());
  if (!back) return;
  show(back);
  if (!back.message) say(`Your work is back: ${back.supports.length} supports, ${back.queries.all.length} queries.`, "note");
}
async function begin() {
  await open();
  const work = document.body.classList.contains("begun") ? null : await offer().catch(() => null);
  $("back").hidden = !work;
  if (!work) return;
  $("back").textContent = `Bring back ${work.supports} supports and ${work.queries} queries of ${work.time}`;
  $("back").onclick = () => { $("back").hidden = true; queue = queue.then(async () => { await kept(adopt(work.tab)); await open(); }); };
}
$("again").onclick = async () => {
  if (!confirm("Remove all images and masks from this page?")) return;
  await kept(forget());
  location.reload();
};
$("example").onclick = () => trigger("example", {});
addEventListener("pagehide", () => { if (key) navigator.sendBeacon("/leave", key); });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });  // the session has ended
