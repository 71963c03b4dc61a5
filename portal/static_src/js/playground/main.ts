import { startChat } from "./chat.ts";
import { startImageClassification, startTextClassification } from "./classify.ts";
import type { Config } from "./config.ts";
import { echoRanges, readConfig } from "./config.ts";
import { startEmbedding } from "./embedding.ts";

const TASKS: Record<string, (root: HTMLElement, config: Config) => void> = {
  "text-generation": startChat,
  "feature-extraction": startEmbedding,
  "sentence-similarity": startEmbedding,
  "image-classification": startImageClassification,
  "text-classification": startTextClassification,
};

document.addEventListener("DOMContentLoaded", () => {
  for (const root of document.querySelectorAll<HTMLElement>("[data-playground]")) {
    const config = readConfig(root);
    echoRanges(root);
    TASKS[config.task]?.(root, config);
  }
});
