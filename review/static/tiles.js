// Pictures as tiles; a tile is a button that selects its image.

import { make } from "./dom.js";
import { fileOf, leftOut, store, toggleImage } from "./store.js";

/** Make the picture of an image; its file's name where there is none. */
export function picture(place, size = "small") {
  if (!store.facts.pictures) return make("span", { class: "nameless" }, fileOf(place));
  const image = make("img", { src: `pictures/${size}/${place}`, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "nameless" }, "cannot be read")), { once: true });
  return image;
}

/** Make the tile of an image. */
export function tile(place) {
  const why = leftOut(place);
  const name = `${fileOf(place)}${why && `, left out: ${why}`}`;
  const made = make("button", {
    type: "button", class: `tile${why && " out"}`, "data-place": place, title: name, "aria-label": name,
    "aria-pressed": store.images.has(place),
    click: () => toggleImage(place),
  }, picture(place));
  return made;
}

/** Show on the tiles of the page which images are selected. */
export function showSelection() {
  for (const one of document.querySelectorAll(".tile[data-place]")) {
    one.setAttribute("aria-pressed", store.images.has(Number(one.dataset.place)));
  }
}
