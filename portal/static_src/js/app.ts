import htmx from "htmx.org";
import { watchCopying } from "./elements/copy.ts";
import { watchDialogs } from "./elements/dialogs.ts";
import { openOnWideScreens, showCurrentLinks, watchMenus } from "./elements/menus.ts";
import { watchTabs } from "./elements/tabs.ts";
import { watchThemeMenu } from "./elements/theme-menu.ts";
import { localiseTimes, watchTimes } from "./elements/times.ts";

htmx.config.includeIndicatorCSS = false;

document.addEventListener("DOMContentLoaded", () => {
  watchThemeMenu();
  watchCopying();
  watchTimes();
  watchTabs();
  watchDialogs();
  watchMenus();
  openOnWideScreens();
  showCurrentLinks();
});

document.addEventListener("htmx:config:request", (event) => {
  const context = (event as CustomEvent).detail.ctx;
  const token = document.querySelector<HTMLMetaElement>("meta[name=csrf-token]")?.content;
  if (context.request.method === "GET") dropBlanks(context.request.body);
  else if (token) context.request.headers["X-CSRFToken"] = token;
});

// An address says only what was asked for.
function dropBlanks(fields: unknown): void {
  if (!(fields instanceof FormData)) return;
  for (const [name, value] of [...fields]) if (value === "") fields.delete(name);
}

// A page that nobody looks at does not poll.
document.addEventListener("htmx:before:request", (event) => {
  const source = (event as CustomEvent).detail.ctx.sourceElement as Element;
  if (document.hidden && source.getAttribute("hx-trigger")?.startsWith("every")) event.preventDefault();
});

// A page behind a sign-in must not land inside a fragment.
document.addEventListener("htmx:before:swap", (event) => {
  const response = (event as CustomEvent).detail.ctx?.response?.raw as Response | undefined;
  if (response?.redirected && new URL(response.url).pathname.startsWith("/accounts/login")) {
    event.preventDefault();
    location.assign(response.url);
  }
});

document.addEventListener("htmx:after:swap", () => {
  localiseTimes(document);
  document.dispatchEvent(new CustomEvent("mercato:swapped"));
});
