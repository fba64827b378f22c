// Small helpers to build elements; text always goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** Make an element with attributes (functions become listeners) and children, elements or texts. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Make a button. */
export const button = (text, act, attributes = {}) => make("button", { type: "button", click: act, ...attributes }, text);

export const whole = (number) => Math.round(number).toLocaleString("en");

export const percent = (share) => `${Math.round(100 * share)}\u202f%`;

/** "1 image", "2 images". */
export const counted = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
