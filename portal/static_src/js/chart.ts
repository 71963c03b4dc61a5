// Draws every figure[data-chart] from its JSON; the table beside it is the server's.
import uPlot from "uplot";
import { compact, inUnit } from "./elements/numbers.ts";
import { wholeDay } from "./elements/times.ts";

interface Series { label: string; values: (number | null)[] }
interface Spec { kind: "line" | "bar"; scale: "time" | "day" | "number"; unit: string; x: number[]; series: Series[] }

const plots = new Map<HTMLElement, uPlot>();
const drawn = new WeakMap<HTMLElement, string>();

// Canvas needs resolved colours; light-dark() resolves on a real property only.
function colour(host: HTMLElement, token: string): string {
  host.style.color = `var(${token})`;
  const resolved = getComputedStyle(host).color;
  host.style.color = "";
  return resolved;
}

function tint(resolved: string, alpha: number): string {
  return resolved.replace(/^rgba?\((\d+), (\d+), (\d+).*/, `rgba($1, $2, $3, ${alpha})`);
}

function drawTip(host: HTMLElement, spec: Spec): uPlot.Plugin {
  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;
  const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  const describe = (index: number) => {
    const x = spec.x[index] ?? 0;
    const head = spec.scale === "time" ? when.format(x * 1000) : spec.scale === "day" ? `${wholeDay(new Date(x * 1000))} (UTC)` : compact(x);
    return [head, ...spec.series.map((s) => `${s.label}: ${s.values[index] == null ? "–" : inUnit(s.values[index]!, spec.unit)}`)];
  };
  return {
    hooks: {
      init: (plot) => void plot.over.append(tip),
      setCursor: (plot) => {
        const { idx, left } = plot.cursor;
        tip.hidden = idx == null || left == null || left < 0;
        if (tip.hidden) return;
        tip.replaceChildren(...describe(idx!).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
        const room = host.clientWidth - tip.offsetWidth - 70;
        tip.style.left = `${Math.max(0, Math.min(left! + 12, room))}px`;
        tip.style.top = "4px";
      },
    },
  };
}

function options(host: HTMLElement, spec: Spec): uPlot.Options {
  const ink = colour(host, "--ink-3");
  const grid = { stroke: colour(host, "--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: { show: false }, font: "11px Inter, system-ui, sans-serif" };
  return {
    ...(spec.scale === "day" ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") } : {}),
    width: host.clientWidth,
    height: host.clientHeight,
    padding: [8, 24, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: spec.scale !== "number", range: spec.x.length === 1 ? (_, from) => [from - 1, from + 1] : undefined },
      y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 28, space: 76, ...TICKS[spec.scale] },
      { ...axis, size: 58, space: 36, values: (_, ticks) => ticks.map((tick) => onAxis(tick, spec.unit)) },
    ],
    series: [{}, ...spec.series.map((series, index) => lineOf(host, spec, series.label, index))],
    plugins: [drawTip(host, spec)],
  };
}

// A unit of more than a sign stands in the title alone.
function onAxis(tick: number, unit: string): string {
  return unit.includes("/") ? compact(tick) : inUnit(tick, unit);
}

// In the reader's own manner; the day alone where a tick stands for midnight or the ticks are days apart.
function timeTicks(_plot: uPlot, ticks: number[], _axis: number, _space: number, step: number): string[] {
  const language = document.documentElement.lang;
  const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
  const hour = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
  return ticks.map((tick) => {
    const moment = new Date(tick * 1000);
    return step >= 86400 || moment.getHours() + moment.getMinutes() === 0 ? day.format(moment) : hour.format(moment);
  });
}

// Days are those of UTC, wherever the reader is.
function dayTicks(_plot: uPlot, ticks: number[]): string[] {
  return ticks.map((tick) => (tick % 86_400 ? "" : wholeDay(new Date(tick * 1000))));
}

const TICKS = { time: { values: timeTicks }, day: { values: dayTicks }, number: {} };

function lineOf(host: HTMLElement, spec: Spec, label: string, index: number): uPlot.Series {
  const stroke = colour(host, `--series-${(index % 4) + 1}`);
  const bars = spec.kind === "bar" ? uPlot.paths.bars!({ size: [0.7, 40], radius: 0.15 }) : undefined;
  return {
    label,
    stroke,
    spanGaps: spec.scale === "number",
    width: bars ? 0 : 1.75,
    fill: bars ? stroke : spec.series.length === 1 ? tint(stroke, 0.1) : undefined,
    paths: bars,
    points: { show: spec.x.length < 3 && !bars },
  };
}

function draw(figure: HTMLElement): void {
  const host = figure.querySelector<HTMLElement>(".chart-plot");
  const source = figure.querySelector("script[type='application/json']");
  if (!host || !source?.textContent) return;
  const state = `${source.textContent} ${getComputedStyle(host).colorScheme} ${getComputedStyle(host).color}`;
  // A page that polls swaps in the same numbers most of the time.
  if (plots.has(host) && drawn.get(host) === state) return;
  drawn.set(host, state);
  const spec: Spec = JSON.parse(source.textContent);
  plots.get(host)?.destroy();
  host.replaceChildren();
  if (!spec.x.length || !host.clientWidth) return;
  plots.set(host, new uPlot(options(host, spec), [spec.x, ...spec.series.map((s) => s.values)], host));
}

const widths = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const plot = plots.get(target as HTMLElement);
    if (plot) plot.setSize({ width: contentRect.width, height: contentRect.height });
    else draw(target.closest<HTMLElement>("[data-chart]")!);
  }
});

function drawAll(): void {
  for (const host of plots.keys()) if (!host.isConnected) plots.delete(host);
  for (const figure of document.querySelectorAll<HTMLElement>("[data-chart]")) {
    draw(figure);
    widths.observe(figure.querySelector(".chart-plot")!);
  }
}

// A chart's table leaves as CSV without another request.
function download(button: HTMLElement): void {
  const figure = button.closest("[data-chart]");
  const lines = [...(figure?.querySelectorAll("tr") ?? [])].map((row) =>
    [...row.querySelectorAll<HTMLElement>("th,td")].map((cell) => {
      const text = cell.querySelector("time")?.dateTime ?? cell.dataset.value ?? cell.textContent!.trim();
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    }).join(","),
  );
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n")], { type: "text/csv" }));
  link.download = `${button.dataset.csvName ?? "chart"}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

document.addEventListener("DOMContentLoaded", drawAll);
document.addEventListener("mercato:swapped", drawAll);
document.addEventListener("mercato:theme", drawAll);
document.addEventListener("click", (event) => {
  const button = (event.target as Element).closest<HTMLElement>("[data-csv-name]");
  if (button) download(button);
});
