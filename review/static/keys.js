// The keyboard: single keys for verbs, arrows from tile to tile.

import { byId } from "./dom.js";
import { listKey } from "./lists.js";
import { clearSelection, store, toggleSubtype } from "./store.js";
import { verbs } from "./verbs.js";

const KEYS = {
  n: () => verbs.name(), m: verbs.merge, s: () => verbs.split(), v: verbs.move, w: verbs.wrong, o: verbs.outlier,
  u: verbs.undo, r: verbs.redo, x: pick, Escape: clearSelection, "?": () => byId("help").showModal(),
  1: () => byId("tab-overview").click(), 2: () => byId("tab-map").click(), 3: () => byId("tab-lists").click(),
};
const LIST_KEYS = "ykdl";
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export function startKeys() {
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=range]), textarea, select");
    if (typing || document.querySelector("dialog[open]") || event.altKey) return;
    if (event.ctrlKey || event.metaKey) return undoKeys(event);
    if (event.key in STEPS || event.key === "ArrowDown" || event.key === "ArrowUp") return arrows(event);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (LIST_KEYS.includes(key) && !byId("lists").hidden) listKey(key);
    else if (key in KEYS) KEYS[key]();
    else return;
    event.preventDefault();
  });
}

function undoKeys(event) {
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) verbs.redo();
  else verbs.undo();
}

/** Select the subtype that has the focus, or take it from the selection. */
function pick() {
  const card = document.activeElement?.closest?.(".subtype");
  if (card && store.state.byId.has(card.dataset.id)) toggleSubtype(card.dataset.id);
}

/** Left and right go from tile to tile, up and down from subtype to subtype. */
function arrows(event) {
  if (byId("overview").hidden || event.target.matches("[role=tab], input")) return;
  const sideways = event.key in STEPS;
  const all = [...byId("overview").querySelectorAll(sideways ? ".tile" : ".pick")];
  const here = sideways ? event.target.closest(".tile") : event.target.closest(".subtype")?.querySelector(".pick");
  const step = sideways ? STEPS[event.key] : event.key === "ArrowDown" ? 1 : -1;
  const start = sideways && !here ? event.target.closest(".subtype")?.querySelector(".tile") : null;
  const next = start ?? all[here ? all.indexOf(here) + step : 0];
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}
