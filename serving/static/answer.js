// The model's answer to one image: words, bars, pixels, routing.

import { byId, classNames, hasCoarseLabels, make, makeBar, percent } from "./dom.js";
import { showPixels } from "./pad.js";
import { makeRouting } from "./routing.js";
import { makeTree } from "./tree.js";

const LONGEST = 6; // characters of a guess in the largest type

/** Prepare the page for a model's answers; return `show` for one answer and `clear` for none. */
export function makeAnswer(model) {
  const bars = makeClasses(model);
  const showCoarse = makeCoarse(model);
  const route = makeRouteOrTree(model);
  const clear = () => {
    write({ guess: "?", "guess-probability": "", stance: "", reason: invitation(model), time: "" });
    byId("guess").classList.add("doubted");
    byId("prepared").getContext("2d").clearRect(0, 0, 4096, 4096);
    showCoarse(null);
    bars.forEach((bar) => bar.move(0, ""));
    markBest(bars, null);
    route(null);
  };
  const show = ({ prediction, prepared, milliseconds }) => {
    showWords(prediction, model, milliseconds);
    showPixels(byId("prepared"), prepared);
    showCoarse(prediction.coarse);
    prediction.class_probabilities.forEach((share, index) => bars[index].move(share));
    markBest(bars, classNames(model).indexOf(prediction.guess.label));
    route(prediction);
  };
  clear();
  return { show, clear };
}

/** Make the diagram of the routing, or of a model that grew the tree, which has the classes in it. */
function makeRouteOrTree(model) {
  const card = byId("routing").closest("section");
  card.classList.toggle("across", Boolean(model.tree));
  byId("routing-title").textContent = model.tree ? "Tree" : "Routing";
  byId("classes").closest("section").hidden = Boolean(model.tree);
  return (model.tree ? makeTree : makeRouting)(byId("routing"), model);
}

function showWords(prediction, model, milliseconds) {
  const { guess, abstain } = prediction;
  write({
    guess: guess.label,
    "guess-probability": percent(guess.probability),
    stance: abstain ? "The model abstains." : "The model knows such images.",
    reason: reasonOf(prediction, model),
    time: `Answered in ${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`,
  });
  byId("guess").classList.toggle("doubted", abstain);
  byId("guess").classList.toggle("long", guess.label.length > LONGEST);
}

function write(texts) {
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
}

function invitation(model) {
  if (model.tree) return "Give the model an image, and watch its way through the tree.";
  if (model.reads_digits) return "Draw a digit, and watch which expert it is sent to.";
  return "Give the model an image, and watch which expert it is sent to.";
}

/** The reason why the model abstains or does not. */
function reasonOf(prediction, model) {
  const confidence = prediction.confidence.toFixed(2);
  const threshold = model.abstention.threshold.toFixed(2);
  if (!prediction.abstain) return `Confidence ${confidence}; it abstains under ${threshold}.`;
  return `The image is not similar to the training images: confidence ${confidence}, under ${threshold}.`;
}

/** Make a bar for each coarse label; return `show(coarse)`, null for none. A single coarse label has no bars. */
function makeCoarse(model) {
  byId("coarse-card").hidden = !hasCoarseLabels(model);
  const bars = model.coarse_labels.map((label) => makeBar(label));
  byId("coarse").replaceChildren(...bars.map((bar) => bar.line));
  return (coarse) => {
    bars.forEach((bar, index) => (coarse ? bar.move(coarse.probabilities[index]) : bar.move(0, "")));
    markBest(bars, coarse ? model.coarse_labels.indexOf(coarse.label) : null);
  };
}

/** Make a bar for each class, under a heading for each of several coarse labels. */
function makeClasses(model) {
  const bars = classNames(model).map((name) => makeBar(name));
  const lines = model.coarse_labels.flatMap((label) => [
    ...(hasCoarseLabels(model) ? [make("li", { class: "group" }, label)] : []),
    ...bars.filter((_, index) => model.subtypes[index].coarse_label === label).map((bar) => bar.line),
  ]);
  byId("classes").replaceChildren(...lines);
  return bars;
}

function markBest(bars, best) {
  bars.forEach((bar, index) => bar.line.classList.toggle("best", index === best));
}
