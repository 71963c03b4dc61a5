// What the server tells the playground. Field names and units are those of the page's JSON.
import type { Currency } from "../elements/numbers.ts";

export interface Price { meter: string; amount: number; per: number }

export interface Config {
  mode: string;
  model: string;
  base_url: string;
  endpoint: string;
  retell: string;
  headers: Record<string, string>;
  currency: Currency;
  prices: Price[];
  words: Record<string, string>;
}

export type Params = Record<string, number | string | string[]>;

export function readConfig(root: HTMLElement): Config {
  const source = root.querySelector("script[type='application/json']");
  return JSON.parse(source?.textContent ?? "{}");
}

export function find<T extends HTMLElement>(root: HTMLElement, part: string): T {
  const element = root.querySelector<T>(`[data-part="${part}"]`);
  if (!element) throw new Error(`the playground has no part "${part}"`);
  return element;
}

// Only what was changed from the model's own defaults is sent.
export function readParams(root: HTMLElement): Params {
  const params: Params = {};
  for (const input of root.querySelectorAll<HTMLInputElement>("[data-param]")) {
    const name = input.dataset.param!;
    const text = input.value.trim();
    if (!text || text === input.dataset.default) continue;
    if (name === "stop") params[name] = text.split(",").map((part) => unescape(part.trim())).filter(Boolean);
    else params[name] = Number(text);
  }
  return params;
}

// A field of one line can hold no line break, which is what many texts are to end at.
function unescape(text: string): string {
  return text.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
}

export function echoRanges(root: HTMLElement): void {
  for (const input of root.querySelectorAll<HTMLInputElement>("input[type=range][data-param]")) {
    const output = input.parentElement?.querySelector("output");
    const show = () => output && (output.value = input.value);
    input.addEventListener("input", show);
    show();
  }
}
