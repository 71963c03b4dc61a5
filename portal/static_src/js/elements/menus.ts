// <details class="menu">: one open at a time; Escape and a click elsewhere close it.

function closeAll(except?: Element | null): void {
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}

export function watchMenus(): void {
  document.addEventListener("click", (event) => closeAll((event.target as Element).closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = document.querySelector<HTMLDetailsElement>("details.menu[open]");
    closeAll();
    open?.querySelector("summary")?.focus();
  });
}

// Filters are shown where there is room and folded away where there is not.
export function openOnWideScreens(): void {
  const wide = matchMedia("(min-width: 64rem)");
  const apply = () => {
    for (const details of document.querySelectorAll<HTMLDetailsElement>("details[data-open-wide]")) details.open = wide.matches;
  };
  wide.addEventListener("change", apply);
  apply();
}

// A row of links that scrolls sideways begins at the one that is current.
export function showCurrentLinks(): void {
  for (const link of document.querySelectorAll<HTMLElement>(":is(.sidebar nav, .listing-tabs) > [aria-current]")) {
    const row = link.parentElement!;
    row.scrollLeft = link.offsetLeft - row.offsetLeft - (row.clientWidth - link.offsetWidth) / 2;
  }
}
