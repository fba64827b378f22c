// The page of the review.

import { byId, whole } from "./dom.js";
import { startKeys } from "./keys.js";
import { startLists } from "./lists.js";
import { openMap, startMap } from "./map.js";
import { startOverview } from "./overview.js";
import { onChange, start, store } from "./store.js";
import { startTabs } from "./tabs.js";
import { startVerbs, verbs } from "./verbs.js";

startVerbs();
startOverview();
startMap();
startLists();
startKeys();
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
onChange((what) => {
  if (what !== "state") return;
  document.title = `${store.facts.title} · ClustNet review`;
  byId("run").textContent = `${store.facts.title}: ${whole(store.facts.files.length)} images, ${store.state.subtypes.length} subtypes`;
});
try {
  await start(verbs.fault);
  startTabs(byId("tabs"), (id) => id === "map" && openMap().catch(verbs.fault));
  document.body.classList.add("ready");
} catch (error) {
  verbs.fault(error);
}
