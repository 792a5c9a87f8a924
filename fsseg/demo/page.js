// Sends events to the server in order and shows the answers. Parts of the page: painter.js, result.js.
const parts = {}, $ = (id) => document.getElementById(id), MEGABYTE = 2 ** 20, NAME = 100;
let key = "", queue = Promise.resolve();

export function part(id) {  // element, properties and events of a part, for its script
  const watchers = {}, props = {};
  const watch = (name, act) => { (watchers[name] ??= []).push(act); };
  parts[id] = (changes) => {
    Object.assign(props, changes);
    for (const name of Object.keys(changes)) (watchers[name] ?? []).forEach((act) => act());
  };
  return { element: $(id), props, watch, trigger: (name, data) => send(`/events/${name}`, JSON.stringify(data)) };
}

async function ask(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "X-Session": key }, body });
    const type = answer.headers.get("content-type") ?? "";
    return type.startsWith("application/json") ? await answer.json() : { message: await answer.text() };
  } catch {
    return { message: "The page does not answer. Is fsseg demo still running?" };
  }
}

function say(text) {
  const line = document.createElement("div");
  line.className = "message"; line.textContent = text;
  $("message").replaceChildren(...(text ? [line] : []));
}

function show(answer) {
  say(answer.message);
  if (answer.painter) parts.painter({ value: answer.painter });
  if (answer.hint !== undefined) parts.painter({ hint: answer.hint });
  if (answer.result !== undefined) $("result").innerHTML = answer.result;  // the server escapes all text in it
  if (answer.archive) parts.result({ archive: answer.archive });
}

function send(path, body) {
  queue = queue.then(async () => {
    const answer = await ask(path, body);
    show(answer);
    if (path === "/events/stroke") parts.painter({ answered: true });
    return answer.message;
  });
  return queue;
}

async function take(zone, files) {
  const label = zone.querySelector("span"), before = label.textContent, most = Number(document.body.dataset.megabytes);
  const messages = [];
  for (const file of files) {
    const size = file.size / MEGABYTE;
    label.textContent = `Reading ${file.name}`;
    if (size > most) { messages.push(`${file.name} has ${size.toFixed(1)} MB; at most ${most} MB are allowed. Resize it.`); continue; }
    try {
      const data = await file.arrayBuffer();
      messages.push(await send(`/pictures/${zone.id}?name=${encodeURIComponent(file.name.slice(-NAME))}`, data));
    } catch {
      messages.push(`${file.name} cannot be read.`);
    }
  }
  label.textContent = before;
  say(messages.filter(Boolean).join(" "));
}

for (const zone of document.querySelectorAll(".drop")) {
  const input = zone.querySelector("input");
  input.onchange = () => { const files = [...input.files]; input.value = ""; take(zone, files); };
  zone.ondragover = (event) => { event.preventDefault(); zone.classList.add("over"); };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => { event.preventDefault(); zone.classList.remove("over"); take(zone, [...event.dataTransfer.files]); };
}
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());  // beside the zones
$("example").onclick = () => send("/events/example", "{}");
addEventListener("load", async () => {
  const answer = await ask("/session");
  key = answer.key ?? "";
  show(answer);
});
addEventListener("pagehide", () => { if (key) navigator.sendBeacon("/leave", key); });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });  // the session has ended
