// The page: finds out which model is served and connects its parts.

import { makeAnswer } from "./answer.js";
import { requestFile, requestModel, requestModels, requestPixels, debounced, newestOnly } from "./requests.js";
import { byId, readsColour } from "./dom.js";
import { takeFiles } from "./files.js";
import { takeKey } from "./key.js";
import { startLive } from "./live.js";
import { showModel } from "./model.js";
import { readyOf, showChoice } from "./models.js";
import { makePad } from "./pad.js";
import { fillStrip } from "./strip.js";
import { startTabs } from "./tabs.js";

const NO_DIGITS = "The test digits could not be loaded; drawing works without them.";
const DEBOUNCE = 80; // milliseconds between two requests while a stroke is drawn

let started = false; // once the model is known

function showFault(sentence) {
  byId("fault").textContent = sentence;
  byId("fault").hidden = !sentence;
}

/** Connect what gives images with what shows answers. */
function startDrawing(model) {
  const answer = makeAnswer(model);
  const settle = newestOnly(show, fail);
  const pad = startPad(model, settle);
  const settleOnPad = (send) => {
    location.hash = "draw"; // a file may be dropped or pasted on any tab
    const pieces = pad?.pieces();
    settle(async () => ({ ...(await send()), onPad: true, pieces }));
  };
  takeFiles(byId("choose"), byId("file"), (file) => settleOnPad(() => requestFile(file)));
  byId("clear").addEventListener("click", () => {
    pad?.clear();
    settle(async () => null);
  });
  if (model.reads_digits) startStrip((pixels) => settleOnPad(() => requestPixels(pixels))).catch(() => showFault(NO_DIGITS));

  function show(found) {
    if (found?.onPad && found.pieces !== pad?.pieces()) return; // a stroke has begun, and is sent next
    showFault("");
    if (!found) return answer.clear();
    if (found.onPad) pad?.show(found.prepared);
    answer.show(found);
  }

  function fail(sentence) {
    answer.clear();
    showFault(sentence);
  }
}

/** Start the drawing pad; a model of colour images has none, and reads image files alone. */
function startPad(model, settle) {
  const colour = readsColour(model);
  byId("pad-frame").hidden = colour;
  byId("tab-draw").textContent = colour ? "Image" : "Draw";
  if (colour) return null;
  const prepares = model.input.preparation === "mnist";
  byId("draw").classList.toggle("bright", !prepares);
  const pad = makePad(byId("pad"), model.input.shape, debounced(() => settle(send), DEBOUNCE));
  return pad;

  async function send() {
    if (pad.blank()) return null;
    return prepares ? requestFile(await pad.file()) : requestPixels(pad.pixels());
  }
}

async function startStrip(choose) {
  await fillStrip(byId("strip"), choose);
  byId("strip-frame").hidden = false;
}

async function start() {
  try {
    const ready = readyOf(await requestModels());
    showChoice(byId("models"), ready, null); // even if the model of this page is gone
    const model = await requestModel();
    showChoice(byId("models"), ready, model);
    byId("model-name").textContent = `${model.name}, version ${model.version}`;
    started = true;
    startDrawing(model);
    showModel(byId("model"), model);
    const live = startLive(byId("live"), model);
    startTabs(document.querySelector("[role=tablist]"), (id) => live.open(id === "live"));
  } catch (error) {
    showFault(error.message);
  }
}

takeKey(byId("key-form"), byId("key"), () => {
  showFault("");
  if (!started) start();
});
start();
