// The drawing pad. Ink is black on a transparent canvas; the style sheet inverts it for dark.

import { showImage } from "./pixels.js";

const SIDE = 448; // pixels of the longer side, about
const PEN = 1 / 13; // of the shorter side: as thick as the strokes of MNIST

/** Make a canvas a drawing pad for images of [height, width]; `changed` is called after each piece of a stroke. */
export function makePad(canvas, [height, width], changed) {
  const scale = Math.max(1, Math.round(SIDE / Math.max(height, width)));
  canvas.width = width * scale;
  canvas.height = height * scale;
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: PEN * Math.min(canvas.width, canvas.height) });
  const setInked = (inked) => canvas.classList.toggle("inked", inked);
  let pieces = 0;
  followPointer(canvas, (from, to) => {
    pieces += 1;
    setInked(true);
    if (from) line(ink, from, to);
    else dot(ink, to);
    changed();
  });
  return {
    clear: () => {
      setInked(false);
      ink.clearRect(0, 0, canvas.width, canvas.height);
    },
    blank: () => !canvas.classList.contains("inked"),
    file: () => new Promise((resolve) => canvas.toBlob(resolve, "image/png")),
    pieces: () => pieces,
    show: (image) => {
      setInked(true);
      spread(ink, image);
    },
  };
}

/** Call `draw(from, to)` for each piece that the pen, finger or mouse makes; `from` is null where it comes down. */
function followPointer(canvas, draw) {
  let last = null;
  const move = (event) => {
    const place = placeOf(canvas, event);
    draw(last, place);
    last = place;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = null;
    move(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last || !event.isPrimary) return;
    const between = event.getCoalescedEvents();
    for (const part of between.length ? between : [event]) move(part);
  });
  const stop = (event) => {
    if (event.isPrimary) last = null; // a second finger's end is not the stroke's
  };
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, stop);
}

function line(ink, from, to) {
  ink.beginPath();
  ink.moveTo(...from);
  ink.lineTo(...to);
  ink.stroke();
}

/** Draw the pen's tip, as browsers draw nothing of a line without length. */
function dot(ink, [across, down]) {
  ink.beginPath();
  ink.arc(across, down, ink.lineWidth / 2, 0, 2 * Math.PI);
  ink.fill();
}

function placeOf(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  return [across * canvas.width, down * canvas.height];
}

function spread(ink, image) {
  const small = document.createElement("canvas");
  showImage(small, image);
  const { width, height } = ink.canvas;
  ink.clearRect(0, 0, width, height);
  ink.imageSmoothingEnabled = false;
  ink.drawImage(small, 0, 0, width, height);
}
