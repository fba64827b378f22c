// Photographs: files are answered one after the other, and a strip of small results leads back to each.

import { byId, make } from "./dom.js";
import { pictureOf, shrunkTo } from "./pixels.js";
import { requestFile } from "./requests.js";

const MOST = 200; // results that the page keeps
const SIDE = 480, THUMBNAIL = 96; // pixels of the longer side
const UNREADABLE = "it cannot be read; drop files, not folders.";

/** Bring the drop area to life; return `add(files)`. `answer` shows answers, `showFault` a sentence or "". */
export function startPhotographs(answer, showFault) {
  let results = [], waiting = 0, leftOut = 0, round = 0; // a new round begins where the page is cleared
  let turn = Promise.resolve(); // the end of the request that was asked for last
  let follows = true; // whether each new result is shown; not once a person has gone back to one

  byId("clear").addEventListener("click", () => {
    round += 1;
    results = [];
    waiting = 0;
    leftOut = 0;
    tellWaiting();
    byId("results").replaceChildren();
    show(null);
  });

  function add(files) {
    const room = MOST - results.length - waiting;
    leftOut = Math.max(0, files.length - room);
    follows = true;
    for (const file of files.slice(0, room)) {
      const mine = round;
      waiting += 1;
      turn = turn.then(() => mine === round && answerFile(file, mine));
    }
    tellWaiting();
  }

  async function answerFile(file, mine) {
    const result = await resultOf(file);
    if (mine !== round) return; // cleared meanwhile
    waiting -= 1;
    tellWaiting();
    results.push(result);
    byId("results").append(make("li", {}, result.button));
    result.button.addEventListener("click", () => {
      follows = waiting === 0;
      show(result);
    });
    if (!follows) return;
    show(result);
    byId("results").scrollTop = byId("results").scrollHeight;
  }

  /** Show one result, or none for null; of a refused file only the reason. */
  function show(result) {
    showFault(result?.fault ?? "");
    if (result?.found) answer.show(result.found);
    else answer.clear();
    byId("picture").replaceChildren(...(result?.picture ? [result.picture] : []));
    for (const { button } of results) button.setAttribute("aria-current", button === result?.button);
  }

  function tellWaiting() {
    const toGo = waiting ? [`${waiting} to go.`] : [];
    const tooMany = `${leftOut} left out, as this page keeps ${MOST}; 'clustnet predict' reads any number.`;
    byId("waiting").textContent = [...toGo, ...(leftOut ? [tooMany] : [])].join(" ");
  }

  return add;
}

/** The answer to a file or its fault, with the file's own picture and the button that leads back to it. */
async function resultOf(file) {
  try {
    await file.slice(0, 1).arrayBuffer().catch(() => Promise.reject(new Error(UNREADABLE)));
    const found = await requestFile(file);
    const picture = await picturedBy(file);
    const { guess, abstain } = found.prediction;
    const button = buttonOf(file.name, abstain ? "abstains" : guess.label, picture);
    return { found: { ...found, prepared: pictureOf(found.prepared) }, picture, button };
  } catch (error) {
    return { fault: `${file.name}: ${error.message}`, button: buttonOf(file.name, "refused", null) };
  }
}

/** The file as the browser shows it, null where it cannot. */
async function picturedBy(file) {
  try {
    const picture = await createImageBitmap(file);
    const canvas = shrunkTo(SIDE, picture, make("canvas", { role: "img", "aria-label": `Your image ${file.name}` }));
    picture.close();
    return canvas;
  } catch {
    return null;
  }
}

function buttonOf(name, words, picture) {
  const small = picture ? [shrunkTo(THUMBNAIL, picture, make("canvas", { "aria-hidden": "true" }))] : [];
  return make("button", { type: "button", title: name, "aria-label": `${words}: ${name}` }, ...small, make("span", {}, words));
}
