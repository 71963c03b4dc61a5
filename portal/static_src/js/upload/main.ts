// The upload page: what was chosen, how far it is, what was refused and why.
import { fromDrop, fromInput } from "./choose.ts";
import type { Chosen } from "./choose.ts";
import { ask, call, digest, Refused, sendFile } from "./transfer.ts";
import type { UploadState } from "./transfer.ts";

type Words = Record<"hashing" | "sending" | "checking" | "paused" | "unreachable", string>;

class UploadPage {
  private chosen: Chosen[] = [];
  private upload: UploadState | null = null;
  private abort = new AbortController();
  private done = 0;

  constructor(private readonly root: HTMLElement, private readonly words: Words) {
    for (const part of ["folder", "files"]) {
      this.part<HTMLInputElement>(part).addEventListener("change", (event) => this.choose(fromInput(event.target as HTMLInputElement)));
    }
    const zone = this.part("dropzone");
    for (const type of ["dragover", "dragleave", "drop"] as const) {
      zone.addEventListener(type, async (event) => {
        event.preventDefault();
        zone.toggleAttribute("data-over", type === "dragover");
        if (type === "drop") this.choose(await fromDrop(event));
      });
    }
    this.part("start").addEventListener("click", () => void this.start());
    this.part("cancel").addEventListener("click", () => this.abort.abort());
  }

  private choose(chosen: Chosen[]): void {
    if (!chosen.length) return;
    this.chosen = chosen;
    this.upload = null;
    this.complain("");
    this.part("work").hidden = false;
    this.part("list").replaceChildren(...chosen.map(({ path, file }) => {
      const row = document.createElement("li");
      row.append(
        Object.assign(document.createElement("code"), { className: "truncate", textContent: path }),
        Object.assign(document.createElement("span"), { className: "tabular faint", textContent: size(file.size) }));
      return row;
    }));
    this.show("", 0);
  }

  private async start(): Promise<void> {
    this.abort = new AbortController();
    this.busy(true);
    this.complain("");
    try {
      this.upload ??= await this.begin();
      await this.send(this.upload);
      this.show(this.words.checking, 1);
      const version = await call("POST", this.url(this.upload, "complete/"), "{}");
      this.busy(false);
      location.assign(this.root.dataset.done!.replace("/0/", `/${version.number}/`));
    } catch (error) {
      this.busy(false);
      if (this.abort.signal.aborted) this.show(this.words.paused);
      else if (error instanceof Refused) await this.explain(error);
      else this.complain(this.words.unreachable);
    }
  }

  private async begin(): Promise<UploadState> {
    // Names, sizes and quotas first: nobody should hash for an hour to be refused then.
    const asked = this.chosen.map(({ path, file }) => ({ path, size: file.size }));
    const { paths } = await call("POST", `${this.root.dataset.begin!}check/`, JSON.stringify({ files: asked }), this.abort.signal);
    const wanted = new Set<string>(paths);
    this.chosen = this.chosen.filter(({ path }) => wanted.has(path));
    const files = [];
    this.done = 0;
    for (const each of this.chosen) {
      files.push(await digest(each, this.abort.signal, (bytes) => this.advance(this.words.hashing, bytes)));
    }
    return call("POST", this.root.dataset.begin!, JSON.stringify({ files }), this.abort.signal);
  }

  // Asks first what has arrived, so that going on after a pause or a crash sends nothing twice.
  private async send(upload: UploadState): Promise<void> {
    const state: UploadState = await call("GET", this.url(upload, ""), null, this.abort.signal);
    const wanted = new Map(state.files.map((file) => [file.path, file]));
    this.done = this.total - state.files.reduce((sum, file) => sum + file.size - file.received, 0);
    for (const each of this.chosen) {
      const file = wanted.get(each.path);
      if (!file || file.stored) continue;
      await sendFile(this.url(upload, ""), each, file.received, this.abort.signal, (bytes) => this.advance(this.words.sending, bytes));
    }
  }

  private get total(): number {
    return this.chosen.reduce((sum, { file }) => sum + file.size, 0);
  }

  private url(upload: UploadState, rest: string): string {
    return `${this.root.dataset.uploads}${upload.id}/${rest}`;
  }

  private advance(status: string, bytes: number): void {
    this.done += bytes;
    this.show(status, this.total ? this.done / this.total : 1);
  }

  private show(status: string, share?: number): void {
    this.part("status").textContent = status;
    if (share === undefined) return;
    this.part<HTMLProgressElement>("progress").value = share;
    this.part("sum").textContent = `${size(share * this.total)} / ${size(this.total)}`;
  }

  private busy(busy: boolean): void {
    this.part("cancel").hidden = !busy;
    this.part<HTMLButtonElement>("start").disabled = busy;
    if (busy) addEventListener("beforeunload", warn);
    else removeEventListener("beforeunload", warn);
  }

  // The API speaks English; the page's own server says the same as it says it in a version's report.
  private async explain({ message, facts }: Refused): Promise<void> {
    this.complain(message);
    this.show("", 0);
    const told = await ask("POST", this.root.dataset.refusal!, JSON.stringify({ message, ...facts })).catch(() => null);
    if (told?.ok) this.part("problem-text").innerHTML = await told.text();
  }

  private complain(message: string): void {
    this.part("problem").hidden = !message;
    this.part("problem-text").textContent = message;
  }

  private part<T extends HTMLElement>(name: string): T {
    return this.root.querySelector<T>(`[data-part="${name}"]`)!;
  }
}

function warn(event: BeforeUnloadEvent): void {
  event.preventDefault();
}

function size(bytes: number): string {
  const step = bytes >= 1e9 ? 1e9 : bytes >= 1e6 ? 1e6 : 1e3;
  const unit = { 1e9: "gigabyte", 1e6: "megabyte", 1e3: "kilobyte" }[step];
  return new Intl.NumberFormat(document.documentElement.lang, { style: "unit", unit, maximumFractionDigits: 1 }).format(bytes / step);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const root of document.querySelectorAll<HTMLElement>("[data-upload]")) {
    new UploadPage(root, JSON.parse(root.querySelector("script[type='application/json']")?.textContent ?? "{}"));
  }
});
