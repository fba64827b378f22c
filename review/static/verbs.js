// What a person does: each verb sends one action; dialogs ask for what is missing.

import { button, byId, counted, make } from "./dom.js";
import { act, clearSelection, fileOf, markOf, onChange, split, store, subtypeOf, titleOf } from "./store.js";

const FAULT_MILLISECONDS = 12000;
let timer = 0;

function fault(error) {
  byId("fault").textContent = error.message;
  byId("fault").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (byId("fault").hidden = true), FAULT_MILLISECONDS);
}

function said(text) {
  byId("said").textContent = text;
}

/** Do something, say what was done, and show the fault where it cannot be done. */
const run = (done, text) => done.then((is) => is && (byId("fault").hidden = true, said(text)), fault);

const chosenSubtype = (id) => id ?? [...store.subtypes][0] ?? document.activeElement?.closest?.(".subtype")?.dataset.id;

export const verbs = {
  fault,

  async name(id) {
    const subtype = store.state.byId.get(chosenSubtype(id));
    if (!subtype) return said("Select a subtype first.");
    const name = await askText(`Name ${titleOf(subtype)}`, "Name", subtype.name, "Leave it empty to remove the name.");
    if (name !== null) await run(act({ verb: "rename", subtype: subtype.id, name }), name ? `Named ${name}.` : "The name is removed.");
  },

  async merge() {
    const ids = [...store.subtypes].sort((one, other) => weight(other) - weight(one));
    if (ids.length < 2) return said("Select two subtypes or more to merge them.");
    clearSelection();
    await run(act({ verb: "merge", subtypes: ids }), `Merged ${ids.length} subtypes.`);
  },

  async split(id) {
    const subtype = store.state.byId.get(chosenSubtype(id));
    if (!subtype) return said("Select a subtype first.");
    const parts = await askNumber(`Split ${titleOf(subtype)}`, "Parts");
    if (parts === null) return;
    said("Splitting…");
    await run(split(subtype.id, parts), `Split ${titleOf(subtype)} into ${parts}.`);
  },

  async move() {
    const places = [...store.images];
    if (!places.length) return said("Select images first.");
    const to = await askSubtype(`Move ${counted(places.length, "image")} to`, subtypeOf(places[0]));
    if (to === null) return;
    clearSelection();
    await run(act({ verb: "move", files: places.map(fileOf), to }), `Moved ${counted(places.length, "image")}.`);
  },

  /** Mark the selected images; where all have the mark already, take it back. */
  async mark(mark, opposite, words) {
    const places = [...store.images];
    if (!places.length) return said("Select images first.");
    const has = places.every((place) => markOf(place, mark.split("_").pop()) === mark);
    clearSelection();
    await run(act({ verb: "mark", files: places.map(fileOf), mark: has ? opposite : mark }), has ? "The mark is removed." : words);
  },

  wrong: () => verbs.mark("wrong_label", "right_label", "Marked as not of this coarse label."),
  outlier: () => verbs.mark("outlier", "no_outlier", "Marked as an outlier."),
  undo: () => store.state.undo && run(act({ verb: "undo" }), "Undone."),
  redo: () => store.state.redo && run(act({ verb: "redo" }), "Redone."),
  decide: (actions, text) => run(act(...actions), text),
};

/** A named subtype before others, then the larger, so that a merge keeps the name. */
const weight = (id) => store.state.byId.get(id).images + (store.state.byId.get(id).name ? 1e9 : 0);

/** Open the dialog and return what was chosen in it, null where it was closed. */
function open(title, ...content) {
  const dialog = byId("dialog");
  const before = document.activeElement;
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...content);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    if (before?.isConnected) before.focus({ preventScroll: true });
    resolve(dialog.returnValue ? JSON.parse(dialog.returnValue) : null);
  }, { once: true }));
}

const close = (value) => byId("dialog").close(JSON.stringify(value));

function form(field, ok, value) {
  return make("form", { submit: (event) => (event.preventDefault(), close(value())) }, ...field,
    make("div", { class: "buttons" }, make("button", { class: "primary" }, ok), button("Cancel", () => byId("dialog").close())));
}

function askText(title, label, text, note) {
  const input = make("input", { id: "answer", maxlength: 200, autocomplete: "off", value: text, "aria-describedby": "note" });
  return open(title, form([make("label", { for: "answer" }, label), input, make("p", { id: "note", class: "soft small" }, note)], "Keep", () => input.value));
}

function askNumber(title, label) {
  const input = make("input", { id: "answer", type: "number", min: 2, max: 20, value: 2, required: true });
  return open(title, form([make("label", { for: "answer" }, label), input], "Split", () => Number(input.value)));
}

/** Let a person choose a subtype by typing a part of its name, or a new one. */
function askSubtype(title, from) {
  const input = make("input", { id: "answer", autocomplete: "off", input: () => fill() });
  const list = make("div", { class: "choices" });
  const choices = [...store.state.subtypes].sort((one, other) => (other.coarse === from.coarse) - (one.coarse === from.coarse));
  const fill = () => {
    const typed = input.value.trim().toLowerCase();
    const fits = choices.filter((one) => one.id !== from.id && `${one.name} ${one.id}`.toLowerCase().includes(typed));
    list.replaceChildren(...fits.map((one) => button(`${titleOf(one)} (${one.images})`, () => close(one.id))),
      ...store.facts.labels.map((label) => button(`New subtype of ${label}`, () => close(store.state.next[label]), { class: "new" })));
  };
  fill();
  const first = () => list.querySelector("button").click();
  return open(title, make("form", { submit: (event) => (event.preventDefault(), first()) },
    make("label", { for: "answer" }, "Subtype (Enter takes the first)"), input), list,
  make("div", { class: "buttons" }, button("Cancel", () => byId("dialog").close())));
}

/** The bar at the bottom: what is selected, and what can be done with it. */
export function startVerbs() {
  for (const [id, verb] of [["undo", verbs.undo], ["redo", verbs.redo]]) byId(id).addEventListener("click", verb);
  onChange(() => {
    const { images, subtypes, state } = store;
    byId("undo").disabled = !state.undo;
    byId("redo").disabled = !state.redo;
    byId("undo").title = state.undo ? `Undo: ${state.undo}` : "Nothing to undo";
    byId("redo").title = state.redo ? `Redo: ${state.redo}` : "Nothing to redo";
    byId("bar").hidden = !images.size && !subtypes.size;
    byId("chosen").textContent = images.size ? `${counted(images.size, "image")} selected` : `${counted(subtypes.size, "subtype")} selected`;
    byId("bar-buttons").replaceChildren(...(images.size
      ? [button("Move to… (V)", verbs.move), button("Not of this label (W)", verbs.wrong), button("Outlier (O)", verbs.outlier)]
      : [button("Merge (M)", verbs.merge, { disabled: subtypes.size < 2 }),
        ...(subtypes.size === 1 ? [button("Name (N)", () => verbs.name()), button("Split (S)", () => verbs.split())] : [])]),
    button("Clear (Esc)", clearSelection));
  });
}
