// The strip of real test digits: 28x28 each, side by side in one image.

import { make } from "./dom.js";
import { inkOf, showImage } from "./pixels.js";

const SIDE = 28;
const CLASSES = 10; // they come in the order 0 to 9, again and again

/** Fill `frame` with one button for each digit; `choose(pixels)` is called with the one that is clicked. */
export async function fillStrip(frame, choose) {
  const digits = await readDigits("static/digits.png");
  frame.replaceChildren(...digits.map((pixels, index) => digitButton(pixels, index % CLASSES, choose)));
}

function digitButton(pixels, label, choose) {
  const canvas = make("canvas", { "aria-hidden": "true", class: "ink" });
  showImage(canvas, inkOf(pixels));
  const button = make("button", { type: "button", "aria-label": `Test digit ${label}` }, canvas);
  button.addEventListener("click", () => choose(pixels));
  return button;
}

async function readDigits(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const context = new OffscreenCanvas(image.width, SIDE).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return Array.from({ length: image.width / SIDE }, (_, index) => greyOf(context, index * SIDE));
}

function greyOf(context, left) {
  const { data } = context.getImageData(left, 0, SIDE, SIDE);
  const row = (top) => Array.from({ length: SIDE }, (_, column) => data[4 * (top * SIDE + column)]);
  return Array.from({ length: SIDE }, (_, top) => row(top));
}
