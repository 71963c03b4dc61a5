// The life of one call in the playground: busy, stoppable, and honest about how it ended.
import { Refusal, type Retold, retell } from "./call.ts";
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
    this.complain(null);
    this.gauge.start();
    try {
      const usage = await work(this.abort.signal);
      this.gauge.finish(usage, this.config.words.done ?? "");
    } catch (error) {
      await this.conclude(error);
    } finally {
      this.abort = null;
      this.show(false);
    }
  }

  private async conclude(error: unknown): Promise<void> {
    if (error instanceof DOMException && error.name === "AbortError") {
      this.gauge.finish(undefined, this.config.words.stopped ?? "");
      return;
    }
    this.gauge.finish(undefined, this.config.words.failed ?? "");
    if (error instanceof Refusal) this.complain(await retell(this.config, error));
    else this.complain({ message: this.config.words.unreachable ?? String(error), url: "", action: "" });
  }

  private complain(problem: Retold | null): void {
    const text = find(this.root, "problem-text");
    find(this.root, "problem").hidden = !problem;
    text.textContent = problem?.message ?? "";
    if (!problem?.url) return;
    const link = document.createElement("a");
    link.href = problem.url;
    link.textContent = problem.action;
    text.append(" ", link);
  }

  private show(busy: boolean): void {
    find(this.root, "stop").hidden = !busy;
    find(this.root, "send").hidden = busy;
  }
}
