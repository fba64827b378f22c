// Tabs as WAI-ARIA describes them: arrow keys, Home and End move; the address remembers.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/** Bring the tab list to life; `opened(id)` is called with the id of each panel that opens. */
export function startTabs(list, opened) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const open = (chosen) => {
    for (const tab of tabs) setOpen(tab, tab === chosen);
    history.replaceState(null, "", `#${panelOf(chosen).id}`);
    opened(panelOf(chosen).id);
  };
  for (const tab of tabs) tab.addEventListener("click", () => open(tab));
  list.addEventListener("keydown", (event) => {
    const next = tabs[target(event.key, tabs.indexOf(document.activeElement), tabs.length)];
    if (!next) return;
    event.preventDefault();
    next.focus();
    open(next);
  });
  const addressed = () => tabs.find((tab) => `#${panelOf(tab).id}` === location.hash);
  addEventListener("hashchange", () => addressed() && open(addressed()));
  open(addressed() ?? tabs[0]);
}

const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

function setOpen(tab, isOpen) {
  tab.setAttribute("aria-selected", isOpen);
  tab.tabIndex = isOpen ? 0 : -1;
  panelOf(tab).hidden = !isOpen;
}

function target(key, index, count) {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return key in STEPS ? (index + STEPS[key] + count) % count : -1;
}
