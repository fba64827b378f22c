// The choice between several models: links, which name the model in the page's own address.

import { make } from "./dom.js";

/** The models that are ready, as the service's index has them: those of each name from the newest version to the oldest. */
export const readyOf = (rows) => rows.filter(({ state }) => state === "READY");

/** Fill the frame with a link to each model, if there are two or more; `shown` is the model of this page, null for none. */
export function showChoice(frame, rows, shown) {
  frame.replaceChildren(...rows.map((row) => linkTo(row, shown)));
  frame.hidden = rows.length < 2;
}

function linkTo({ name, version }, shown) {
  const link = make("a", { href: `?${new URLSearchParams({ model: name, version })}` }, `${name} ${version}`);
  if (name === shown?.name && version === shown?.version) link.setAttribute("aria-current", "page");
  link.addEventListener("click", () => (link.hash = location.hash)); // the open tab stays open
  return link;
}
