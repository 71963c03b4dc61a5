// Embeds one text a line and shows the cosine of each pair: what an embedding model is bought for.
import { post } from "./call.ts";
import { showCode } from "./code.ts";
import type { Config } from "./config.ts";
import { find } from "./config.ts";
import { Runner } from "./run.ts";

function cosine(a: number[], b: number[]): number {
  let dot = 0, left = 0, right = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    left += a[i]! ** 2;
    right += b[i]! ** 2;
  }
  return dot / Math.sqrt(left * right || 1);
}

function cell(tag: "td" | "th", text: string): HTMLElement {
  return Object.assign(document.createElement(tag), { textContent: text, title: text });
}

function drawMatrix(host: HTMLElement, texts: string[], vectors: number[][]): void {
  const table = Object.assign(document.createElement("table"), { className: "matrix" });
  const head = table.createTHead().insertRow();
  head.append(cell("td", ""), ...texts.map((_, index) => cell("th", String(index + 1))));
  const body = table.createTBody();
  texts.forEach((text, row) => {
    const line = body.insertRow();
    line.append(cell("th", `${row + 1}. ${text}`));
    vectors.forEach((other) => {
      const similarity = cosine(vectors[row]!, other);
      const value = cell("td", similarity.toFixed(3));
      value.style.setProperty("--similarity", String(Math.max(0, similarity)));
      line.append(value);
    });
  });
  host.replaceChildren(table);
}

export function startEmbedding(root: HTMLElement, config: Config): void {
  const runner = new Runner(root, config);
  const input = find<HTMLTextAreaElement>(root, "input");
  const texts = () => input.value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, 12);
  const body = () => ({ model: config.model, input: texts() });
  const refreshCode = () => showCode(root, config, "/embeddings", body());

  find(root, "form").addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = texts();
    if (!asked.length) return;
    void runner.run(async (signal) => {
      const answer = await (await post(config, body(), signal)).json();
      const vectors = answer.data.map((item: { embedding: number[] }) => item.embedding);
      drawMatrix(find(root, "result"), asked, vectors);
      find(root, "dimensions").textContent = (config.words.dimensions ?? "").replace("{n}", String(vectors[0]?.length ?? 0));
      return answer.usage;
    });
  });
  input.addEventListener("input", refreshCode);
  refreshCode();
}
