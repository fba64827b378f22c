// Small helpers to build elements; text always goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const MIN_LEAD = 0.05; // of a class over the mean of its coarse label, to name a cell

export const byId = (id) => document.getElementById(id);

/** Make an HTML element with attributes and children (elements or texts). */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an SVG element likewise. */
export function makeSvg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Set a custom property, which the style sheet turns into a width or a shade. */
export function setShare(element, share) {
  element.style.setProperty("--share", share);
}

/** Make a line of a bar chart and return it with the function that moves it; with `open` its name is a button. */
export function makeBar(label, open) {
  const fill = make("span", { class: "fill" });
  const value = make("span", { class: "number" });
  const name = open ? make("button", { type: "button", class: "name" }, label) : make("span", { class: "name" }, label);
  if (open) name.addEventListener("click", open);
  const line = make("li", {}, name, make("span", { class: "track" }, fill), value);
  const move = (share, text = percent(share)) => {
    setShare(fill, share);
    value.textContent = text;
  };
  return { line, move };
}

export const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;

export const whole = (number) => Math.round(number).toLocaleString("en");

/** Whether the model has several coarse labels. */
export const hasCoarseLabels = (model) => model.coarse_labels.length > 1;

/** The names of the model's subtypes, in the order of the class probabilities. */
export const classNames = (model) => model.subtypes.map((subtype) => subtype.name);

/** Whether the model reads drawings, dark on light, and not photographs. */
export const readsDrawings = (model) => model.input.preparation === "mnist";

/** The most probable class of a cell, or a dash where no reference image is clear about it. */
export function cellLabel(model, row, coarse) {
  const index = cellSubtype(model, row, coarse);
  return index === null ? "–" : model.subtypes[index].name;
}

/** The number of the most probable class of a cell, null where no reference image is clear about it. */
export function cellSubtype(model, row, coarse) {
  const own = model.subtypes.map((subtype, index) => [subtype, index])
    .filter(([subtype]) => subtype.coarse_label === model.coarse_labels[coarse]);
  const [, index] = own.reduce((one, other) => (row[other[1]] > row[one[1]] ? other : one));
  return own.length > 1 && row[index] - 1 / own.length < MIN_LEAD ? null : index;
}
