// The page: finds out which model is served and connects its parts.

import { makeAnswer } from "./answer.js";
import { requestFile, requestModel, requestModels, requestPixels, debounced, newestOnly } from "./requests.js";
import { byId, readsDrawings } from "./dom.js";
import { takeFiles } from "./files.js";
import { takeKey } from "./key.js";
import { startLive } from "./live.js";
import { showModel } from "./model.js";
import { readyOf, showChoice } from "./models.js";
import { makePad } from "./pad.js";
import { startPhotographs } from "./photographs.js";
import { inkOf } from "./pixels.js";
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
function startImages(model) {
  const answer = makeAnswer(model), drawings = readsDrawings(model);
  byId("tab-draw").textContent = drawings ? "Draw" : "Image";
  byId("pad-frame").hidden = !drawings;
  byId("drop").hidden = drawings;
  byId("file").multiple = !drawings;
  byId("choose").textContent = drawings ? "Choose an image" : "Choose images";
  const take = drawings ? startDrawing(model, answer) : startPhotographs(answer, showFault);
  takeFiles(byId("choose"), byId("file"), (files) => {
    location.hash = "draw"; // a file may be dropped or pasted on any tab
    take(files);
  });
}

/** Bring the pad and the strip to life; return what takes files, of which the first is answered. */
function startDrawing(model, answer) {
  const settle = newestOnly(show, fail);
  let taken = 0; // pieces of strokes before the newest file or test digit, which is on the pad in their place
  const pad = makePad(byId("pad"), model.input.shape, debounced(() => pad.pieces() !== taken && settle(send), DEBOUNCE));
  const send = async () => (pad.blank() ? null : requestFile(await pad.file()));
  const settleOnPad = (ask) => {
    const pieces = pad.pieces();
    taken = pieces;
    settle(async () => {
      try {
        return { ...(await ask()), onPad: true, pieces };
      } catch (error) {
        if (pieces === pad.pieces()) pad.clear(); // what was there is not what was refused
        throw error;
      }
    });
  };
  byId("clear").addEventListener("click", () => {
    pad.clear();
    settle(async () => null);
  });
  if (model.reads_digits) startStrip((pixels) => settleOnPad(() => requestPixels(pixels))).catch(() => showFault(NO_DIGITS));

  function show(found) {
    if (found?.onPad && found.pieces !== pad.pieces()) return; // a stroke has begun, and is sent next
    showFault("");
    if (!found) return answer.clear();
    const prepared = inkOf(found.prepared);
    if (found.onPad) pad.show(prepared);
    answer.show({ ...found, prepared });
  }

  function fail(sentence) {
    answer.clear();
    showFault(sentence);
  }

  return ([file]) => settleOnPad(() => requestFile(file));
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
    startImages(model);
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
