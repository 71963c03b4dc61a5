// <time datetime> in the reader's zone and language; the server wrote UTC, which stays as the tooltip. A whole day
// (data-as="day") is one of UTC, and has the same name everywhere.

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity],
];

export function relative(moment: Date, now = Date.now()): string {
  let amount = (moment.getTime() - now) / 1000;
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  for (const [unit, size] of UNITS) {
    if (Math.abs(amount) < size) return format.format(Math.round(amount), unit);
    amount /= size;
  }
  return "";
}

// The year goes without saying while it lasts.
function absolute(moment: Date, style: string): string {
  if (style === "day") return wholeDay(moment);
  const year = moment.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  const day = { year, month: "short", day: "numeric" } as const;
  const options: Intl.DateTimeFormatOptions =
    style === "exact" ? { dateStyle: "medium", timeStyle: "medium" }
    : style === "date" ? { dateStyle: "medium" }
    : { ...day, hour: "numeric", minute: "2-digit" };
  return new Intl.DateTimeFormat(document.documentElement.lang, options).format(moment);
}

export function wholeDay(moment: Date): string {
  const year = moment.getUTCFullYear() === new Date().getUTCFullYear() ? undefined : "numeric";
  const options = { year, month: "short", day: "numeric", timeZone: "UTC" } as const;
  return new Intl.DateTimeFormat(document.documentElement.lang, options).format(moment);
}

export function localiseTimes(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLTimeElement>("time[data-as]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const style = element.dataset.as ?? "";
    element.textContent = style === "ago" ? relative(moment) : absolute(moment, style);
  }
}

export function watchTimes(): void {
  localiseTimes(document);
  setInterval(() => localiseTimes(document), 30_000);
}
