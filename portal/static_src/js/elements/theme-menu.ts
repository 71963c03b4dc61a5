// The buttons data-set-theme="light|dark|system".
import { readTheme, writeTheme } from "./stored.ts";

function show(): void {
  const current = readTheme() ?? "system";
  for (const button of document.querySelectorAll<HTMLElement>("[data-set-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === current));
  }
}

export function watchThemeMenu(): void {
  document.addEventListener("click", (event) => {
    const button = (event.target as Element).closest<HTMLElement>("[data-set-theme]");
    if (!button) return;
    const wanted = button.dataset.setTheme;
    const theme = wanted === "light" || wanted === "dark" ? wanted : null;
    writeTheme(theme);
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    show();
    document.dispatchEvent(new CustomEvent("mercato:theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("mercato:theme"));
  });
  show();
}
