// Keeps images and layers in the browser (IndexedDB), so that neither a reload nor the end of a session loses them.
const NAME = "fsseg demo", MOST = 4, OLD = 7 * 86_400_000;  // other tabs' works that are kept, or milliseconds of age
const records = new Map(), early = new Map();  // by number in the session; layers that came before their record
let tab = "", order = Date.now();

const database = new Promise((resolve, reject) => {
  const asked = indexedDB.open(NAME, 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore("work", { keyPath: "id" }).createIndex("tab", "tab");
  asked.onsuccess = () => resolve(asked.result);
  asked.onerror = () => reject(asked.error);
});
database.catch(() => {});  // reported by what uses it
async function act(mode, make) {
  const store = (await database).transaction("work", mode).objectStore("work");
  return new Promise((resolve, reject) => {
    const asked = make(store);
    asked.onsuccess = () => resolve(asked.result); asked.onerror = () => reject(asked.error);
  });
}
const put = (record) => act("readwrite", (store) => store.put(record));
const remove = (record) => act("readwrite", (store) => store.delete(record.id));
const of = async (name) => (await act("readonly", (store) => store.index("tab").getAll(name))).sort((a, b) => a.order - b.order);
const fresh = (record) => { order += 1; return { ...record, id: `${tab}-${order}`, tab, order, time: Date.now() }; };

async function enter() {  // a reloaded tab goes on; a copy of an open tab gets a copy of its work
  if (tab) return;
  const before = sessionStorage.getItem("tab"), left = sessionStorage.getItem("left");
  sessionStorage.removeItem("left");
  tab = before && left ? before : `${Date.now()}-${Math.random().toString(36).slice(2)}`;
  sessionStorage.setItem("tab", tab);
  if (before && !left) await adopt(before);
}
addEventListener("pagehide", () => { try { sessionStorage.setItem("left", "1"); } catch { /* blocked: nothing is kept */ } });

export async function adopt(other) { for (const one of await of(other)) await put(fresh(one)); }
export async function forget() { for (const one of await of(tab)) await remove(one); }

export function remember(number, painted) {  // the layer of a support, or the names of the classes, or a segmenter's file
  if (number === "names") { put({ ...fresh({ where: "names", names: painted }), id: `${tab}-names` }).catch(() => {}); return; }
  if (number === "segmenter") { put({ ...fresh({ where: "segmenter", ...painted }), id: `${tab}-segmenter` }).catch(() => {}); return; }
  const record = records.get(number);
  if (record) put(Object.assign(record, painted, { time: Date.now() })).catch(() => {});
  else early.set(number, painted);
}

export async function sync(answer, file, ask) {  // keep new images, forget those that were removed
  if (!answer.supports) return;
  const now = new Map([...answer.supports.map((one) => [one.number, "supports"]), ...answer.queries.all.map((one) => [one.number, "queries"])]);
  for (const [number, record] of [...records]) if (!now.has(number)) { records.delete(number); await remove(record); }
  for (const [number, where] of now) {
    if (records.has(number)) continue;
    let record = { where, name: file?.name, blob: file };
    if (!file) {
      const { kept } = await ask("/events/keep", JSON.stringify({ number }));
      if (!kept) continue;
      const bytes = Uint8Array.from(atob(kept.image), (one) => one.charCodeAt(0));
      record = { where, name: kept.name, blob: new Blob([bytes]), layer: kept.layer, way: kept.way };
    }
    records.set(number, fresh({ ...record, ...early.get(number) }));
    early.delete(number);
    await put(records.get(number));
  }
}

export async function restore(ask, tell) {  // send all of this tab to a new session; null if there is nothing
  await enter();
  const work = await of(tab), messages = [], images = work.filter((one) => one.blob && one.where !== "segmenter");
  records.clear(); early.clear();
  if (!work.length) return null;
  const post = async (path, body) => { const answer = await ask(path, body); if (answer.message) messages.push(answer.message); return answer; };
  for (const one of work.filter((one) => one.where === "segmenter"))
    await post(`/files/segmenter?name=${encodeURIComponent(one.name)}`, one.blob);
  for (const one of work.filter((one) => one.where === "names")) await post("/events/rename", JSON.stringify({ names: one.names }));
  for (const [i, one] of images.entries()) {
    tell(`Bringing back image ${i + 1} of ${images.length} ...`);
    const answer = await post(`/pictures/${one.where}?name=${encodeURIComponent(one.name)}`, one.blob);
    if (answer.message) continue;  // it stays in the browser
    const number = one.where === "supports" ? answer.painter.selected : answer.queries.selected;
    records.set(number, one);
    if (one.layer) await post("/events/stroke", JSON.stringify({ number, layer: one.layer, way: one.way }));
  }
  const last = [...records].findLast(([, one]) => one.where === "supports")?.[0];
  const answer = await ask(last ? "/events/choose" : "/events/rest", JSON.stringify({ number: last }));
  return { ...answer, message: messages.join(" ") };
}

export async function offer() {  // the latest work of a tab that was closed
  const works = new Map();
  for (const one of await act("readonly", (store) => store.getAll())) {
    const work = works.get(one.tab) ?? { tab: one.tab, supports: 0, queries: 0, at: 0, every: [] };
    work.every.push(one); work[one.where] += 1; work.at = Math.max(work.at, one.time);
    works.set(one.tab, work);
  }
  works.delete(tab);
  const [latest, ...rest] = [...works.values()].filter((one) => one.supports + one.queries).sort((a, b) => b.at - a.at);
  for (const work of rest.slice(MOST)) if (Date.now() - work.at > OLD) for (const one of work.every) await remove(one);
  return latest ? { ...latest, time: new Date(latest.at).toLocaleString() } : null;
}
