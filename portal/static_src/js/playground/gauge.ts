// Tokens, time and cost while a call runs. Counts are estimates until the answer's own usage arrives.
import { money, whole } from "../elements/numbers.ts";
import type { Config } from "./config.ts";

interface Usage { prompt_tokens?: number; completion_tokens?: number; total_tokens?: number; cost_micro?: number; [meter: string]: unknown }

export class Gauge {
  private started = 0;
  private firstAt = 0;
  private pieces = 0;
  private timer = 0;

  constructor(private readonly root: HTMLElement, private readonly config: Config) {}

  start(): void {
    this.started = performance.now();
    this.firstAt = this.pieces = 0;
    this.put("status", this.config.words.waiting ?? "");
    for (const name of ["tokens", "rate", "first", "cost"]) this.put(name, "–");
    this.timer = window.setInterval(() => this.put("time", seconds(performance.now() - this.started)), 100);
  }

  // What the gateway says while the first token is not there yet; the clock beside it runs by itself.
  hear(comment: string): void {
    if (this.firstAt) return;
    const word = comment.startsWith("loading model") ? "loading" : comment.startsWith("waiting for a worker") ? "queued" : "waiting";
    this.put("status", this.config.words[word] ?? comment);
  }

  piece(): void {
    if (!this.firstAt) {
      this.firstAt = performance.now();
      this.put("first", seconds(this.firstAt - this.started));
      this.put("status", this.config.words.streaming ?? "");
    }
    this.pieces += 1;
    this.put("tokens", `~${whole(this.pieces)}`);
    this.put("cost", `~${money(this.estimate({ output_tokens: this.pieces, requests: 1 }), this.config.currency)}`);
    this.rate(this.pieces);
  }

  finish(usage: Usage | undefined, status: string): void {
    clearInterval(this.timer);
    this.put("time", seconds(performance.now() - this.started));
    this.put("status", status);
    if (!usage) return;
    const output = usage.completion_tokens;
    const counted = (usage.usage ?? {}) as Record<string, number>;
    if (counted.input_tokens) this.put("tokens", whole(counted.input_tokens));
    if (usage.total_tokens !== undefined) this.put("tokens", output === undefined ? whole(usage.total_tokens) : `${whole(usage.prompt_tokens ?? 0)} + ${whole(output)}`);
    if (output) this.rate(output);
    this.put("cost", this.settled(usage));
  }

  // The charge is the server's; the price list only serves where an answer carries none.
  private settled(usage: Usage): string {
    if (typeof usage.cost_micro === "number") return money(BigInt(usage.cost_micro), this.config.currency);
    const counts = { input_tokens: usage.prompt_tokens ?? 0, output_tokens: usage.completion_tokens ?? 0, requests: 1 };
    return `~${money(this.estimate(counts), this.config.currency)}`;
  }

  private estimate(counts: Record<string, number>): bigint {
    return this.config.prices.reduce(
      (sum, { meter, amount, per }) => sum + (BigInt(amount) * BigInt(counts[meter] ?? 0)) / BigInt(per), 0n);
  }

  private rate(tokens: number): void {
    const spent = (performance.now() - this.firstAt) / 1000;
    if (this.firstAt && tokens > 1 && spent > 0.05) this.put("rate", (tokens / spent).toFixed(1));
  }

  // Each task shows the figures that it has.
  private put(name: string, text: string): void {
    const place = this.root.querySelector(`[data-part="${name}"]`);
    if (place) place.textContent = text;
  }
}

function seconds(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
