// The life of one call in the playground: busy, stoppable, and honest about how it ended.
import { Refusal } from "./call.ts";
import type { Config } from "./config.ts";
import { find } from "./config.ts";
import { Gauge } from "./gauge.ts";

export class Runner {
  readonly gauge: Gauge;
  private abort: AbortController | null = null;

  constructor(private readonly root: HTMLElement, private readonly config: Config) {
    this.gauge = new Gauge(root, config);
    find(root, "stop").addEventListener("click", () => this.abort?.abort());
  }

  get busy(): boolean {
    return this.abort !== null;
  }

  async run(work: (signal: AbortSignal) => Promise<Record<string, any> | undefined>): Promise<void> {
    if (this.busy) return;
    this.abort = new AbortController();
    this.show(true);
    this.complain("");
    this.gauge.start();
    try {
      const usage = await work(this.abort.signal);
      this.gauge.finish(usage, this.config.words.done ?? "");
    } catch (error) {
      this.conclude(error);
    } finally {
      this.abort = null;
      this.show(false);
    }
  }

  private conclude(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") {
      this.gauge.finish(undefined, this.config.words.stopped ?? "");
      return;
    }
    this.gauge.finish(undefined, this.config.words.failed ?? "");
    this.complain(error instanceof Refusal ? error.message : this.config.words.unreachable ?? String(error));
  }

  private complain(message: string): void {
    const box = find(this.root, "problem");
    box.hidden = !message;
    find(this.root, "problem-text").textContent = message;
  }

  private show(busy: boolean): void {
    find(this.root, "stop").hidden = !busy;
    find(this.root, "send").hidden = busy;
  }
}
