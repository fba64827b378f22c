// The annotation budget: class accuracy against the labelled images of each class, on a logarithmic axis.

import { make, makeSvg, percent } from "./dom.js";

const WIDTH = 420, HEIGHT = 250;
const LEFT = 62, RIGHT = 416, TOP = 14, BOTTOM = 200;

/** Draw the curve of means in the band between the least and greatest accuracy. */
export function makeBudget({ points, draws, data }, scored) {
  const x = scale(points.map((point) => Math.log(point.per_class)), LEFT + 14, RIGHT - 14);
  const lowest = Math.floor(20 * Math.min(...points.map((point) => point.least))) / 20;
  const y = (value) => BOTTOM - ((value - lowest) / (1 - lowest || 1)) * (BOTTOM - TOP);
  const at = (point, key) => `${x(Math.log(point.per_class))},${y(point[key])}`;
  const band = [...points.map((p) => at(p, "greatest")), ...points.toReversed().map((p) => at(p, "least"))];
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(points) });
  svg.append(
    ...[lowest, (lowest + 1) / 2, 1].flatMap((value) => rule(y(value), percent(value))),
    makeSvg("polygon", { points: band.join(" "), class: "band" }),
    makeSvg("polyline", { points: points.map((point) => at(point, "mean")).join(" "), class: "curve" }),
    ...points.map((point) => makeSvg("circle", { cx: x(Math.log(point.per_class)), cy: y(point.mean), r: 4 })),
    ...points.map((point) => label(x(Math.log(point.per_class)), BOTTOM + 22, String(point.per_class))),
    label((LEFT + RIGHT) / 2, HEIGHT - 6, "labelled images of each class"),
  );
  const words = `Class accuracy on ${scored}: mean, least and greatest of ${draws} draws from ${data}.`;
  return make("figure", { class: "budget" }, make("figcaption", { class: "soft small" }, words), svg);
}

/** Map the range of `values` to left..right; a single value lies in the middle. */
function scale(values, left, right) {
  const low = Math.min(...values), high = Math.max(...values);
  return (value) => (high > low ? left + ((value - low) / (high - low)) * (right - left) : (left + right) / 2);
}

function rule(y, words) {
  const text = makeSvg("text", { x: LEFT - 8, y: y + 5, class: "label end" }, words);
  return [makeSvg("line", { x1: LEFT, x2: RIGHT, y1: y, y2: y, class: "rule" }), text];
}

const label = (x, y, words) => makeSvg("text", { x, y, class: "label" }, words);

function spoken(points) {
  const parts = points.map((point) => `${point.per_class}: ${percent(point.mean)}`);
  return `Class accuracy by labelled images of each class: ${parts.join(", ")}.`;
}
