// role=tablist with role=tab buttons; arrow keys move, as the ARIA practices say.
// A choice of code language applies to every snippet on the page.

function select(tab: HTMLElement): void {
  const list = tab.closest("[role=tablist]");
  for (const other of list?.querySelectorAll<HTMLElement>("[role=tab]") ?? []) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    const panel = document.getElementById(other.getAttribute("aria-controls") ?? "");
    if (panel) panel.hidden = !chosen;
  }
}

function selectEverywhere(tab: HTMLElement): void {
  select(tab);
  const language = tab.dataset.language;
  if (!language) return;
  for (const other of document.querySelectorAll<HTMLElement>(`[role=tab][data-language="${language}"]`)) select(other);
}

function step(tab: HTMLElement, key: string): HTMLElement | undefined {
  const tabs = [...(tab.closest("[role=tablist]")?.querySelectorAll<HTMLElement>("[role=tab]") ?? [])];
  const moves: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1 };
  if (key === "Home") return tabs[0];
  if (key === "End") return tabs.at(-1);
  const move = moves[key];
  return move === undefined ? undefined : tabs.at((tabs.indexOf(tab) + move) % tabs.length);
}

export function watchTabs(): void {
  document.addEventListener("click", (event) => {
    const tab = (event.target as Element).closest<HTMLElement>("[role=tab]");
    if (tab) selectEverywhere(tab);
  });
  document.addEventListener("keydown", (event) => {
    const tab = (event.target as Element).closest<HTMLElement>("[role=tab]");
    const next = tab && step(tab, event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
    selectEverywhere(next);
  });
}
