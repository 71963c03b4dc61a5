// What the reader chose, kept in this browser. Storage may be refused; then nothing is kept.

export type Theme = "light" | "dark";

const KEY = "mercato.theme";

export function readTheme(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}

export function writeTheme(theme: Theme | null): void {
  try {
    if (theme) localStorage.setItem(KEY, theme);
    else localStorage.removeItem(KEY);
  } catch {
    // Private windows refuse storage; the choice then lasts for this page.
  }
}
