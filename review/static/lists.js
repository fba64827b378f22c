// Suspects and near duplicates: one image at a time, one key a decision.

import { button, byId, counted, make } from "./dom.js";
import { fileOf, markOf, onChange, store, subtypeOf, titleOf } from "./store.js";
import { picture } from "./tiles.js";
import { verbs } from "./verbs.js";

const later = { suspects: new Set(), duplicates: new Set() };

const LISTS = {
  suspects: {
    kind: "label",
    title: "Suspects",
    none: "No suspects are left.",
    text: (place) => `${fileOf(place)} is labelled ${subtypeOf(place).coarse}, but a model that was not trained on it says ${store.facts.suspects[place]}.`,
    pictures: (place) => [figure(place, `${subtypeOf(place).coarse}: ${titleOf(subtypeOf(place))}`)],
    choices: [
      { key: "y", text: "The label is wrong (Y)", mark: "wrong_label", said: "Left out: its label is wrong." },
      { key: "k", text: "The label is right (K)", mark: "right_label", said: "Kept: its label is right." },
    ],
  },
  duplicates: {
    kind: "duplicate",
    title: "Near duplicates",
    none: "No near duplicates are left.",
    text: (place) => `${fileOf(place)} looks nearly the same as ${fileOf(store.facts.duplicates[place])}.`,
    pictures: (place) => [figure(place, fileOf(place)), figure(store.facts.duplicates[place], fileOf(store.facts.duplicates[place]))],
    choices: [
      { key: "d", text: "Leave out the first (D)", mark: "duplicate", said: "Left out as a duplicate." },
      { key: "k", text: "Keep both (K)", mark: "no_duplicate", said: "Kept." },
    ],
  },
};

const figure = (place, words) => make("figure", {}, picture(place, "large"), make("figcaption", { class: "soft small" }, words));

/** The images of a list that nobody has decided on, those put off last. */
export function undecided(name) {
  const places = Object.keys(store.facts[name]).map(Number)
    .filter((place) => !markOf(place, LISTS[name].kind))
    .filter((place) => name !== "suspects" || subtypeOf(place).coarse !== store.facts.suspects[place]);
  return [...places.filter((place) => !later[name].has(place)), ...places.filter((place) => later[name].has(place))];
}

export function startLists() {
  onChange((what) => {
    if (what !== "state") return;
    for (const name of Object.keys(LISTS)) draw(name);
    const left = Object.keys(LISTS).reduce((sum, name) => sum + undecided(name).length, 0);
    byId("tab-lists").textContent = left ? `To decide (${left})` : "To decide";
  });
}

function draw(name) {
  const list = LISTS[name];
  const [place, ...rest] = undecided(name);
  const total = Object.keys(store.facts[name]).length;
  const left = place === undefined ? 0 : rest.length + 1;
  const heading = make("h2", {}, list.title, make("span", { class: "soft" }, ` ${left} of ${counted(total, "image")} left`));
  const content = place === undefined ? [make("p", { class: "soft" }, list.none)] : [
    make("p", {}, list.text(place)),
    make("div", { class: "pictures" }, ...list.pictures(place)),
    make("div", { class: "buttons" },
      ...list.choices.map((choice) => button(choice.text, () => decide(name, choice), { class: "primary" })),
      button("Later (L)", () => putOff(name))),
  ];
  byId(name).replaceChildren(heading, ...content);
}

function decide(name, choice) {
  const [place] = undecided(name);
  if (place !== undefined) verbs.decide([{ verb: "mark", files: [fileOf(place)], mark: choice.mark }], choice.said).then(() => byId(name).focus());
}

function putOff(name) {
  const [place] = undecided(name);
  if (place === undefined) return;
  later[name].delete(place);
  later[name].add(place);
  draw(name);
}

/** Take a key; the list that has the focus is meant, else the first that is not empty. */
export function listKey(key) {
  const focused = document.activeElement?.closest?.("#suspects, #duplicates")?.id;
  const name = focused ?? Object.keys(LISTS).find((one) => undecided(one).length);
  if (!name) return;
  if (key === "l") return putOff(name);
  const choice = LISTS[name].choices.find((one) => one.key === key);
  if (choice) decide(name, choice);
}
