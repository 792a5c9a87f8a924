// Clicks on the result, how it is shown, and the archive that it asks for.
import { part, trigger } from "./page.js";
import { download } from "./drop.js";
const { element, props, watch } = part("result"), $ = (id) => document.getElementById(id), PAUSE = 150;
let later = 0;
element.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-do]");
  if (!asked) return;
  const name = asked.dataset.do;
  trigger(name, ["correct", "drop"].includes(name) ? { number: Number(asked.dataset.number) } : {});
  if (name === "correct") $("painter").scrollIntoView({ block: "nearest" });
});
$("opacity").oninput = (event) => { element.style.setProperty("--opacity", event.target.value / 100); };
$("threshold").oninput = (event) => {
  const value = event.target.value / 100;
  $("at").textContent = value.toFixed(2);
  clearTimeout(later);
  later = setTimeout(() => trigger("threshold", { value }), PAUSE);
};
watch("archive", () => download(props.archive, props.archive_name ?? "masks.zip"));
