// The model's answer to one image: words, bars, pixels, routing.

import { byId, classNames, hasCoarseLabels, make, makeBar, percent, readsDrawings } from "./dom.js";
import { makeExamples } from "./examples.js";
import { makeFeedback } from "./feedback.js";
import { showImage } from "./pixels.js";
import { makeRouting } from "./routing.js";
import { makeTree } from "./tree.js";

const LONGEST = 6; // characters of a guess in the largest type

/** Prepare the page for a model's answers; return `show` for one answer and `clear` for none. */
export function makeAnswer(model) {
  const showExamples = makeExamples(model);
  const open = showExamples && ((subtype) => {
    showExamples(subtype, "Typical images of");
    byId("examples-card").scrollIntoView({ block: "nearest" });
  });
  const bars = makeClasses(model, open);
  const showCoarse = makeCoarse(model);
  const route = makeRouteOrTree(model, open);
  const offerCorrection = makeFeedback(model);
  byId("prepared").classList.toggle("ink", readsDrawings(model));
  const clear = () => {
    write({ guess: "?", "guess-probability": "", stance: "", reason: invitation(model), time: "" });
    doubt(false);
    byId("guess").classList.add("doubted");
    showExamples?.(null);
    offerCorrection(null);
    byId("prepared").getContext("2d").clearRect(0, 0, 4096, 4096);
    showCoarse(null);
    bars.forEach((bar) => bar.move(0, ""));
    markBest(bars, null);
    route(null);
  };
  const show = (found) => {
    const { prediction, prepared, milliseconds } = found;
    const guess = classNames(model).indexOf(prediction.guess.label);
    showWords(prediction, model, milliseconds);
    showImage(byId("prepared"), prepared);
    showExamples?.(guess, prediction.abstain ? "Typical images of" : "Looks like these:");
    offerCorrection(found);
    showCoarse(prediction.coarse);
    prediction.class_probabilities.forEach((share, index) => bars[index].move(share));
    markBest(bars, guess);
    route(prediction);
  };
  clear();
  return { show, clear };
}

/** Make the diagram of the routing, or of a model that grew the tree, which has the classes in it. */
function makeRouteOrTree(model, open) {
  const card = byId("routing").closest("section");
  card.classList.toggle("across", Boolean(model.tree));
  byId("routing-title").textContent = model.tree ? "Tree" : "Routing";
  byId("classes").closest("section").hidden = Boolean(model.tree);
  return (model.tree ? makeTree : makeRouting)(byId("routing"), model, open);
}

function showWords(prediction, model, milliseconds) {
  const { guess, abstain } = prediction;
  write({
    guess: guess.label,
    "guess-probability": percent(guess.probability),
    stance: abstain ? "The model abstains." : "",
    reason: reasonOf(prediction, model),
    time: `Answered in ${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`,
  });
  doubt(abstain);
  byId("guess").classList.toggle("long", guess.label.length > LONGEST);
}

/** Put that the model abstains before its guess, which is grey then. */
function doubt(abstain) {
  byId("said")[abstain ? "prepend" : "append"](byId("words"));
  byId("draw").classList.toggle("abstains", abstain);
  byId("guess").classList.toggle("doubted", abstain);
}

function write(texts) {
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
}

function invitation(model) {
  if (model.tree) return "Give the model an image, and watch its path through the tree.";
  if (model.reads_digits) return "Draw a digit, and watch which expert it is sent to.";
  if (!readsDrawings(model)) return "Drop photographs, and see which subtype each is most like.";
  return "Draw something, and watch which expert it is sent to.";
}

/** What was measured; it is no claim that the model knows the image. */
function reasonOf({ confidence, abstain }, { abstention: { threshold } }) {
  const digits = confidence.toFixed(2) === threshold.toFixed(2) ? 4 : 2;
  const limit = `the limit of ${threshold.toFixed(digits)}`;
  return `Confidence ${confidence.toFixed(digits)}, ${abstain ? `under ${limit}. Its guess would be:` : `above ${limit}.`}`;
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
function makeClasses(model, open) {
  const bars = classNames(model).map((name, index) => makeBar(name, open && (() => open(index))));
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
