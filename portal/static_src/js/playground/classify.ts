// Image and text classification through /v1/predictions: labels with their scores.
import { inUnit } from "../elements/numbers.ts";
import { post, Refusal } from "./call.ts";
import { showCode } from "./code.ts";
import type { Config } from "./config.ts";
import { find } from "./config.ts";
import { startPad } from "./pad.ts";
import { Runner } from "./run.ts";

interface Score { label: string; score: number }

function drawScores(host: HTMLElement, scores: Score[]): void {
  const rows = [...scores].sort((a, b) => b.score - a.score).slice(0, 10).map(({ label, score }) => {
    const row = Object.assign(document.createElement("div"), { className: "meterbar" });
    const bar = Object.assign(document.createElement("progress"), { className: "progress", max: 1, value: score });
    bar.setAttribute("aria-label", label);
    const name = Object.assign(document.createElement("span"), { className: "truncate", textContent: label, title: label });
    row.append(name, bar, Object.assign(document.createElement("span"), { className: "tabular", textContent: inUnit(score * 100, "%") }));
    return row;
  });
  host.replaceChildren(...rows);
}

// The answer is a list of scores, or one such list for each input.
function scoresOf(output: unknown): Score[] {
  const first = Array.isArray(output) && Array.isArray(output[0]) ? output[0] : output;
  const list = Array.isArray(first) ? first : ((first as { scores?: Score[] })?.scores ?? []);
  return list as Score[];
}

// A cold model may take longer than the server lets one wait.
async function look(config: Config, id: string, signal: AbortSignal) {
  await new Promise((resolve) => setTimeout(resolve, 700));
  signal.throwIfAborted();
  return (await fetch(`${config.endpoint}/${id}`, { headers: config.headers, signal })).json();
}

async function predict(root: HTMLElement, config: Config, input: object, signal: AbortSignal) {
  const waiting = { ...config, headers: { ...config.headers, Prefer: "wait" } };
  let answer = await (await post(waiting, { model: config.model, input }, signal)).json();
  while (answer.status === "starting" || answer.status === "processing") answer = await look(config, answer.id, signal);
  if (answer.status === "failed") throw new Refusal(String(answer.error), 0);
  drawScores(find(root, "result"), scoresOf(answer.output));
  return answer.metrics;
}

export function startTextClassification(root: HTMLElement, config: Config): void {
  const runner = new Runner(root, config);
  const input = find<HTMLTextAreaElement>(root, "input");
  const refreshCode = () => showCode(root, config, "/predictions", { model: config.model, input: { text: input.value.trim() } });
  find(root, "form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (text) void runner.run((signal) => predict(root, config, { text }, signal));
  });
  input.addEventListener("input", refreshCode);
  refreshCode();
}

function readAsDataUrl(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// Run takes what the chosen tab shows: the picture, or the drawing.
export function startImageClassification(root: HTMLElement, config: Config): void {
  const runner = new Runner(root, config);
  const zone = find(root, "dropzone");
  const preview = find<HTMLImageElement>(root, "preview");
  const send = find<HTMLButtonElement>(root, "send");
  let picture: string | null = null;

  const isDrawing = () => find(root, "drawing-tab").getAttribute("aria-selected") === "true";
  const drawing = startPad(root, () => refresh());
  const chosen = () => (isDrawing() ? drawing() : picture);
  const refresh = () => void (send.disabled = !chosen());
  const classify = () => {
    const image = chosen();
    if (image) void runner.run((signal) => predict(root, config, { image }, signal));
  };
  const take = async (file: Blob | undefined | null) => {
    if (!file?.type.startsWith("image/")) return;
    picture = await readAsDataUrl(file);
    preview.src = picture;
    preview.hidden = false;
    zone.dataset.filled = "";
    refresh();
    classify();
  };
  find<HTMLInputElement>(root, "file").addEventListener("change", (event) => void take((event.target as HTMLInputElement).files?.[0]));
  for (const type of ["dragover", "dragleave", "drop"] as const) {
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.toggleAttribute("data-over", type === "dragover");
      if (type === "drop") void take(event.dataTransfer?.files[0]);
    });
  }
  // The tabs themselves are the page's: by then they have been switched.
  for (const type of ["click", "keydown"]) root.addEventListener(type, () => setTimeout(refresh));
  find(root, "form").addEventListener("submit", (event) => (event.preventDefault(), classify()));
  showCode(root, config, "/predictions", { model: config.model, input: { image: "data:image/png;base64,..." } });
  refresh();
}
