// Every coarse label with its subtypes as contact sheets, and the slider that cuts the tree of merges.

import { button, byId, counted, make, percent } from "./dom.js";
import { act, onChange, store, titleOf, toggleSubtype } from "./store.js";
import { showSelection, tile } from "./tiles.js";
import { verbs } from "./verbs.js";

const PARTS = { typical: "Most typical", borderline: "Borderline", odd: "Outliers and least typical" };
const CUT_STEPS = 200;
const PAGE_IMAGES = 200;
const opened = new Map(); // how many images of a subtype are shown, where all are
let cut = 0;

export function startOverview() {
  byId("cut").addEventListener("input", (event) => {
    cut = Number(event.target.value) / CUT_STEPS;
    showCut();
  });
  byId("apply-cut").addEventListener("click", () => {
    act(...cutMerges().map((subtypes) => ({ verb: "merge", subtypes }))).then(() => (byId("cut").value = cut = 0, showCut()), verbs.fault);
  });
  onChange((what) => (what === "state" ? draw() : showChosen()));
}

function draw() {
  const { activeElement } = document;
  const place = activeElement?.dataset?.place;
  const card = activeElement?.closest?.(".subtype")?.dataset.id;
  byId("labels").replaceChildren(...store.facts.labels.map(section).filter(Boolean));
  showCut();
  showChosen();
  const again = place !== undefined && byId("overview").querySelector(`.tile[data-place="${place}"]`);
  (again || [...document.querySelectorAll(".subtype")].find((one) => one.dataset.id === card)?.querySelector(".pick"))?.focus({ preventScroll: true });
}

function section(label) {
  const own = store.state.subtypes.filter((subtype) => subtype.coarse === label);
  if (!own.length) return null;
  const images = own.reduce((sum, subtype) => sum + subtype.images, 0);
  const heading = make("h2", {}, label, make("span", { class: "soft" }, ` ${counted(own.length, "subtype")}, ${counted(images, "image")}`));
  return make("section", { class: "label", "aria-label": label }, heading, ...own.map(card));
}

function card(subtype) {
  const near = store.state.byId.get(subtype.nearest);
  const title = make("button", { type: "button", class: "pick", "aria-pressed": false, click: () => toggleSubtype(subtype.id) },
    make("span", { class: "title" }, titleOf(subtype)), subtype.name ? make("span", { class: "soft id" }, subtype.id) : "");
  const numbers = make("p", { class: "soft numbers" }, `${counted(subtype.images, "image")} · ${percent(subtype.sure)} sure`,
    near ? ` · nearest ${titleOf(near)}, distance ${subtype.distance.toFixed(2)}` : "");
  const all = opened.get(subtype.id);
  const buttons = make("div", { class: "buttons" },
    button("Name", () => verbs.name(subtype.id)), button("Split", () => verbs.split(subtype.id)),
    button(all ? "Show the sheet" : "Show all", () => {
      if (all) opened.delete(subtype.id);
      else opened.set(subtype.id, PAGE_IMAGES);
      draw();
    }, { "aria-expanded": Boolean(all) }));
  return make("article", { class: "card subtype", "data-id": subtype.id, "aria-label": titleOf(subtype) },
    make("header", {}, make("h3", {}, title), numbers, buttons), ...(all ? everything(subtype, all) : sheet(subtype)));
}

function sheet(subtype) {
  return Object.entries(PARTS).filter(([part]) => subtype.sheet[part].length).map(([part, title]) =>
    make("div", { class: `strip ${part}` }, make("h4", {}, title), make("div", { class: "tiles" }, ...subtype.sheet[part].map(tile))));
}

function everything(subtype, count) {
  const place = store.state.byId.get(subtype.id).place;
  const places = [...store.state.of.keys()].filter((image) => store.state.of[image] === place);
  places.sort((one, other) => store.facts.confidence[one] - store.facts.confidence[other]);
  const more = places.length > count
    ? [button(`Show ${Math.min(PAGE_IMAGES, places.length - count)} more of ${places.length}`, () => (opened.set(subtype.id, count + PAGE_IMAGES), draw()))] : [];
  return [make("div", { class: "strip" }, make("h4", {}, "All images, the least sure first"),
    make("div", { class: "tiles" }, ...places.slice(0, count).map(tile)), ...more)];
}

/** The groups of subtypes that the cut joins, the largest of each first. */
function cutMerges() {
  const groups = new Map();
  const joined = new Set();
  for (const merge of store.state.tree) {
    if (merge.distance > distanceAt(cut)) continue;
    const members = (id) => groups.get(id) ?? [id];
    const both = [...members(merge.first), ...members(merge.second)];
    groups.set(merge.merged, both);
    joined.add(merge.first).add(merge.second);
  }
  return [...groups].filter(([id]) => !joined.has(id)).map(([, ids]) => ids.sort(byName));
}

/** Those with a name first, then the largest, so that a merge keeps the name. */
function byName(one, other) {
  const [left, right] = [store.state.byId.get(one), store.state.byId.get(other)];
  return Boolean(right.name) - Boolean(left.name) || right.images - left.images;
}

/** The distance under which the slider joins: none at 0, all at 1. */
function distanceAt(share) {
  const distances = store.state.tree.map((merge) => merge.distance);
  return share === 0 ? -1 : Math.max(0, ...distances) * share;
}

function showCut() {
  const merges = cutMerges();
  const gone = merges.reduce((sum, ids) => sum + ids.length - 1, 0);
  const count = store.state.subtypes.length;
  byId("cut-box").hidden = store.state.tree.length === 0;
  const words = gone ? `${counted(count, "subtype")} become ${count - gone}` : "merges nothing yet";
  byId("cut-words").textContent = words;
  byId("cut").setAttribute("aria-valuetext", words);
  byId("apply-cut").disabled = gone === 0;
  const list = merges.map((ids) => make("li", {}, ids.map((id) => titleOf(store.state.byId.get(id))).join(" + ")));
  byId("cut-list").replaceChildren(...list);
}

function showChosen() {
  for (const one of document.querySelectorAll(".subtype")) {
    const chosen = store.subtypes.has(one.dataset.id);
    one.classList.toggle("chosen", chosen);
    one.querySelector(".pick").setAttribute("aria-pressed", chosen);
  }
  showSelection();
}
