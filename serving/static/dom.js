// Small helpers to build elements; text always goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

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

/** Make a line of a bar chart and return it with the function that moves it. */
export function makeBar(label) {
  const fill = make("span", { class: "fill" });
  const value = make("span", { class: "number" });
  const line = make("li", {}, make("span", { class: "name" }, label), make("span", { class: "track" }, fill), value);
  const move = (share, text = percent(share)) => {
    setShare(fill, share);
    value.textContent = text;
  };
  return { line, move };
}

export const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;

export const whole = (number) => Math.round(number).toLocaleString("en");

/** Whether the model tells coarse labels; without, its one group is of all classes and every answer's binary is null. */
export const isDivided = (model) => model.coarse_labels.length === 2;

/** The most probable class of a cell, or a dash where no reference image told it. */
export function cellLabel(row, classes) {
  const best = row.indexOf(Math.max(...row));
  const uniform = 1 / classes.length;
  return row[best] - uniform < 0.05 ? "–" : classes[best];
}
