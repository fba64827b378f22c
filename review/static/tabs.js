// Tabs as WAI-ARIA describes them: arrow keys, Home and End move; the address remembers.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/** Bring the tab list to life; `opened(id)` is called with the id of each panel that opens. */
export function startTabs(list, opened) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));
  const open = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      panelOf(tab).hidden = tab !== chosen;
    }
    history.replaceState(null, "", `#${panelOf(chosen).id}`);
    opened(panelOf(chosen).id);
  };
  for (const tab of tabs) tab.addEventListener("click", () => open(tab));
  list.addEventListener("keydown", (event) => {
    const here = tabs.indexOf(document.activeElement);
    const next = event.key === "Home" ? tabs[0] : event.key === "End" ? tabs.at(-1)
      : event.key in STEPS ? tabs[(here + STEPS[event.key] + tabs.length) % tabs.length] : null;
    if (!next) return;
    event.preventDefault();
    next.focus();
    open(next);
  });
  open(tabs.find((tab) => `#${panelOf(tab).id}` === location.hash) ?? tabs[0]);
}
