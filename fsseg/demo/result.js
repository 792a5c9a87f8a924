// Clicks on the result, and the archive that it asks for.
import { part } from "./page.js";
const { element, props, trigger, watch } = part("result");
element.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-do]");
  if (!asked) return;
  const number = Number(asked.dataset.number);
  if (asked.dataset.do === "pick") trigger("pick", { number });
  if (asked.dataset.do === "drop") trigger("drop", { number });
  if (asked.dataset.do === "maps") trigger("maps", {});
  if (asked.dataset.do === "all") trigger("all", {});
});
element.addEventListener("input", (event) => {
  if (event.target.matches(".opacity")) element.style.setProperty("--opacity", event.target.value / 100);
});
watch("archive", () => {
  const link = document.createElement("a");
  link.href = props.archive; link.download = "masks.zip";
  link.click();
});
