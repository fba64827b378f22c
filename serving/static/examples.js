// Typical training images of a subtype, which the bundle holds.

import { byId, classNames, make } from "./dom.js";
import { shrunkTo } from "./pixels.js";
import { requestExample } from "./requests.js";

const SIDE = 128; // pixels, as bundles hold them

/** Return `show(subtype, title)`, null where the bundle holds no images; null for `subtype` hides them. */
export function makeExamples(model) {
  if (!model.examples.some(Boolean)) return null;
  const kept = new Map(); // promises of the images, by subtype
  let wanted = null;
  return async (subtype, title) => {
    wanted = subtype;
    byId("examples-card").hidden = subtype === null;
    if (subtype === null) return;
    byId("examples-title").textContent = `${title} ${classNames(model)[subtype]}`;
    byId("examples").replaceChildren();
    if (!kept.has(subtype)) kept.set(subtype, load(subtype, model.examples[subtype]));
    try {
      const pictures = await kept.get(subtype);
      if (wanted === subtype) byId("examples").replaceChildren(...canvases(pictures, classNames(model)[subtype]));
    } catch (error) {
      kept.delete(subtype); // the next time they are requested again
      if (wanted === subtype) byId("examples").replaceChildren(error.message);
    }
  };
}

async function load(subtype, count) {
  const files = Array.from({ length: count }, (_, number) => requestExample(subtype, number));
  return Promise.all((await Promise.all(files)).map((file) => createImageBitmap(file)));
}

function canvases(pictures, name) {
  if (!pictures.length) return ["The bundle holds no images of it."];
  return pictures.map((picture, index) =>
    shrunkTo(SIDE, picture, make("canvas", { role: "img", "aria-label": `Typical image ${index + 1} of ${name}` })));
}
