// The map: a point for each image, coloured by its subtype; drag to select with a lasso, wheel or pinch to come nearer.

import { byId, make } from "./dom.js";
import { fileOf, loadMap, onChange, selectImages, store, subtypeOf, titleOf } from "./store.js";
import { colours } from "./colours.js";

const SIDE = 10000; // of the coordinates
const WAIT_MILLISECONDS = 1000;
const NEAR_PIXELS = 10; // of a point, for its picture to be shown
const CELLS = 100; // a side, in which points are looked for
const MOST_ZOOM = 60;
const SETTLE_MILLISECONDS = 120; // after the last move the points are drawn anew

const canvas = () => byId("canvas");
const view = { zoom: 1, x: 0, y: 0 };
let points = null;
let extent = [SIDE, SIDE]; // of the points, which are centred
let cells = null;
let drawn = null; // an image of all points and its frame, so that moving, hovering and the lasso draw only one picture
let settled = 0;
let lasso = null;
let hovered = -1;
let highlighted = null;
let waiting = false;
let asked = false;

export function startMap() {
  const element = canvas();
  element.addEventListener("pointerdown", begin);
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", () => { lasso = null; show(); });
  element.addEventListener("pointerleave", () => hover(-1));
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  element.addEventListener("keydown", keys);
  byId("zoom-in").addEventListener("click", () => zoom(1.5));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("zoom-all").addEventListener("click", () => { Object.assign(view, { zoom: 1, x: 0, y: 0 }); redraw(); });
  new ResizeObserver(redraw).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  onChange((what) => { if (what === "state") legend(); redraw(); });
}

/** Load the map at the first visit; it is computed once, which takes a while. */
export async function openMap() {
  redraw();
  if (points || asked) return;
  asked = true;
  for (;;) {
    const found = await loadMap();
    if (found) {
      points = found;
      break;
    }
    byId("map-state").textContent = "The map is being made, once; this takes from a few seconds to a minute…";
    await new Promise((resolve) => setTimeout(resolve, WAIT_MILLISECONDS));
  }
  byId("map-state").textContent = "Drag around images to select them. Zoom with the wheel, a pinch or + and −; hold Shift and drag to move the map.";
  extent = [points.x, points.y].map((values) => values.reduce((most, value) => Math.max(most, 2 * Math.abs(value - SIDE / 2)), 1));
  cells = Array.from({ length: CELLS * CELLS }, () => []);
  for (let place = 0; place < points.x.length; place++) cells[cellOf(points.x[place], points.y[place])].push(place);
  redraw();
}

const bounded = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS / SIDE)));
const cellOf = (x, y) => bounded(y) * CELLS + bounded(x);

/** Pixels of a unit of the coordinates, and where the map begins. */
function frame() {
  const { clientWidth: width, clientHeight: height } = canvas();
  const scale = 0.92 * view.zoom * Math.min(width / extent[0], height / extent[1]);
  return { width, height, scale, left: width / 2 + view.x - (SIDE / 2) * scale, top: height / 2 + view.y - (SIDE / 2) * scale };
}

function redraw() {
  drawn = null;
  show();
}

/** Show the image of the points where they are now, and draw them anew when the map stands still. */
function moved() {
  clearTimeout(settled);
  settled = setTimeout(redraw, SETTLE_MILLISECONDS);
  show();
}

function show() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint();
  });
}

/** Draw the points once into an image of their own, then that image, the lasso and the hovered point. */
function paint() {
  const element = canvas();
  const ratio = devicePixelRatio || 1;
  const { width, height, scale, left, top } = frame();
  if (!width || !points) return;
  if (!drawn) {
    element.width = width * ratio;
    element.height = height * ratio;
    const image = new OffscreenCanvas(element.width, element.height);
    paintPoints(image.getContext("2d"), ratio);
    drawn = { image, scale, left, top };
  }
  const context = element.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, element.width, element.height);
  const factor = scale / drawn.scale;
  context.setTransform(factor, 0, 0, factor, ratio * (left - drawn.left * factor), ratio * (top - drawn.top * factor));
  context.drawImage(drawn.image, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const ink = getComputedStyle(element).color;
  if (lasso) {
    context.beginPath();
    lasso.forEach(([x, y]) => context.lineTo(x, y));
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    context.stroke();
    context.globalAlpha = 0.08;
    context.fillStyle = ink;
    context.fill();
    context.globalAlpha = 1;
  }
  if (hovered >= 0) {
    context.beginPath();
    context.arc(left + points.x[hovered] * scale, top + points.y[hovered] * scale, 7, 0, 2 * Math.PI);
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.stroke();
  }
}

function paintPoints(context, ratio) {
  const { width, height, scale, left, top } = frame();
  context.scale(ratio, ratio);
  const side = Math.min(9, Math.max(2.5, 160 / Math.sqrt(points.x.length)) * Math.sqrt(view.zoom));
  const shades = colours(store.state.subtypes.length);
  const groups = shades.map(() => []);
  points.x.forEach((x, place) => groups[store.state.of[place]].push(place));
  const shown = (place) => {
    const [x, y] = [left + points.x[place] * scale, top + points.y[place] * scale];
    if (x > -side && y > -side && x < width + side && y < height + side) context.fillRect(x - side / 2, y - side / 2, side, side);
  };
  groups.forEach((group, number) => {
    const faint = (highlighted !== null && highlighted !== store.state.subtypes[number].id);
    context.globalAlpha = faint ? 0.1 : 0.75;
    context.fillStyle = shades[number];
    group.forEach(shown);
  });
  context.globalAlpha = 1;
  context.fillStyle = getComputedStyle(canvas()).color;
  store.images.forEach(shown);
}

function zoom(factor, x = canvas().clientWidth / 2, y = canvas().clientHeight / 2) {
  const wanted = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const change = wanted / view.zoom;
  const [dx, dy] = [x - canvas().clientWidth / 2, y - canvas().clientHeight / 2];
  view.x = dx + (view.x - dx) * change;
  view.y = dy + (view.y - dy) * change;
  view.zoom = wanted;
  moved();
}

const fingers = new Map();
let dragging = false;

function begin(event) {
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  canvas().setPointerCapture(event.pointerId);
  dragging = event.shiftKey || event.button === 1;
  lasso = dragging || fingers.size > 1 ? null : [[event.offsetX, event.offsetY]];
}

function move(event) {
  const here = [event.offsetX, event.offsetY];
  const before = fingers.get(event.pointerId);
  if (!before) return hover(nearest(...here));
  if (fingers.size === 2) pinch(event.pointerId, here);
  else if (dragging) {
    view.x += here[0] - before[0];
    view.y += here[1] - before[1];
    moved();
  } else if (lasso) {
    lasso.push(here);
    show();
  }
  fingers.set(event.pointerId, here);
}

function pinch(id, here) {
  const other = [...fingers].find(([finger]) => finger !== id)[1];
  const before = fingers.get(id);
  const length = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
  zoom(length(here) / Math.max(1, length(before)), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
}

function end(event) {
  fingers.delete(event.pointerId);
  if (lasso && points) {
    const place = lasso.length < 4 ? nearest(event.offsetX, event.offsetY) : -1;
    if (lasso.length >= 4) selectImages(inside(lasso));
    else if (place >= 0) selectImages([place]);
    else selectImages([]);
  }
  lasso = null;
  dragging = false;
  show();
}

/** The images inside a polygon of pixels, by the crossings of a ray (Shimrat, 1962). */
function inside(polygon) {
  const { scale, left, top } = frame();
  const corners = polygon.map(([x, y]) => [(x - left) / scale, (y - top) / scale]);
  const found = [];
  for (let place = 0; place < points.x.length; place++) {
    const [x, y] = [points.x[place], points.y[place]];
    let within = false;
    for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [corners[i], corners[j]];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
    }
    if (within) found.push(place);
  }
  return found;
}

/** The image that is nearest to a pixel, -1 where none is near. */
function nearest(px, py) {
  if (!points) return -1;
  const { scale, left, top } = frame();
  const [x, y, reach] = [(px - left) / scale, (py - top) / scale, NEAR_PIXELS / scale];
  let best = -1;
  let least = reach * reach;
  for (let row = bounded(y - reach); row <= bounded(y + reach); row++) {
    for (let column = bounded(x - reach); column <= bounded(x + reach); column++) {
      for (const place of cells[row * CELLS + column]) {
        const square = (points.x[place] - x) ** 2 + (points.y[place] - y) ** 2;
        if (square < least) [best, least] = [place, square];
      }
    }
  }
  return best;
}

function hover(place) {
  if (place === hovered) return;
  hovered = place;
  const card = byId("hover");
  card.hidden = place < 0;
  if (place >= 0) {
    const { scale, left, top, width } = frame();
    const x = left + points.x[place] * scale;
    card.style.setProperty("--x", `${x > width / 2 ? x - 184 : x + 14}px`);
    card.style.setProperty("--y", `${Math.max(0, top + points.y[place] * scale - 90)}px`);
    const image = store.facts.pictures ? [make("img", { src: `pictures/small/${place}`, alt: "" })] : [];
    card.replaceChildren(...image, make("span", {}, titleOf(subtypeOf(place))), make("span", { class: "soft small" }, fileOf(place)));
  }
  show();
}

const MOVES = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

function keys(event) {
  if (event.key === "+" || event.key === "=") zoom(1.3);
  else if (event.key === "-") zoom(1 / 1.3);
  else if (event.key in MOVES) {
    view.x += MOVES[event.key][0];
    view.y += MOVES[event.key][1];
    moved();
  } else return;
  event.preventDefault();
}

/** The subtypes with their colours; one that is pressed stands out, and its images are selected. */
function legend() {
  const shades = colours(store.state.subtypes.length);
  byId("legend").replaceChildren(...store.state.subtypes.map((subtype, number) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.setProperty("--colour", shades[number]);
    return make("li", {}, make("button", {
      type: "button", "aria-pressed": highlighted === subtype.id,
      click: () => { highlighted = highlighted === subtype.id ? null : subtype.id; legend(); redraw(); },
    }, swatch, titleOf(subtype), make("span", { class: "soft" }, ` ${subtype.images}`)));
  }));
}
