// What the model says of one image: words, bars, pixels, routing.

import { byId, isDivided, make, makeBar, percent, setShare } from "./dom.js";
import { showPixels } from "./pad.js";
import { makeRouting } from "./routing.js";

/** Prepare the page for a model's answers; return `show` for one answer and `clear` for none. */
export function makeAnswer(model) {
  const bars = model.fine_classes.map((label) => makeBar(label));
  byId("classes").replaceChildren(...bars.map((bar) => bar.line));
  const route = makeRouting(byId("routing"), model);
  const clear = () => {
    write({ guess: "?", "guess-probability": "", stance: "", reason: invitation(model), time: "" });
    byId("guess").classList.add("doubted");
    byId("prepared").getContext("2d").clearRect(0, 0, 4096, 4096);
    showBinary(model, null);
    bars.forEach((bar) => bar.move(0, ""));
    markBest(bars, null);
    route(null);
  };
  const show = ({ prediction, prepared, milliseconds }) => {
    showWords(prediction, model, milliseconds);
    showPixels(byId("prepared"), prepared);
    showBinary(model, prediction.binary);
    prediction.class_probabilities.forEach((share, index) => bars[index].move(share));
    markBest(bars, model.fine_classes.indexOf(prediction.guess.label));
    route(prediction);
  };
  clear();
  return { show, clear };
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
}

function write(texts) {
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
}

function invitation(model) {
  if (model.reads_digits) return "Draw a digit, and watch which expert it is sent to.";
  return "Give the model an image, and watch which expert it is sent to.";
}

/** Say why the model stands by its guess, or does not. */
function reasonOf(prediction, model) {
  const confidence = prediction.confidence.toFixed(2);
  const threshold = model.abstention.threshold.toFixed(2);
  if (!prediction.abstain) return `Confidence ${confidence}; it abstains under ${threshold}.`;
  return `The image is unlike those it learnt from: confidence ${confidence}, under ${threshold}.`;
}

function showBinary(model, binary) {
  byId("binary").closest(".binary").hidden = !isDivided(model);
  if (!isDivided(model)) return;
  const [negative, positive] = model.coarse_labels;
  const share = binary && (binary.label === positive ? binary.probability : 1 - binary.probability);
  const ends = [[negative, 1 - share], [positive, share]].map(([label, part]) =>
    make("span", { class: binary?.label === label ? "best" : "" }, binary ? `${label}  ${percent(part)}` : label));
  byId("binary-labels").replaceChildren(...ends);
  // The fill covers the label that was chosen, from that label's side.
  byId("binary").classList.toggle("from-right", binary?.label === positive);
  setShare(byId("binary"), binary ? binary.probability : 0);
}

function markBest(bars, best) {
  bars.forEach((bar, index) => bar.line.classList.toggle("best", index === best));
}
