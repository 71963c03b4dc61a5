import { startChat } from "./chat.ts";
import { startImageClassification, startTextClassification } from "./classify.ts";
import { startCompletion } from "./completion.ts";
import type { Config } from "./config.ts";
import { echoRanges, readConfig } from "./config.ts";
import { startEmbedding } from "./embedding.ts";

const MODES: Record<string, (root: HTMLElement, config: Config) => void> = {
  chat: startChat,
  completion: startCompletion,
  embedding: startEmbedding,
  image: startImageClassification,
  text: startTextClassification,
};

document.addEventListener("DOMContentLoaded", () => {
  for (const root of document.querySelectorAll<HTMLElement>("[data-playground]")) {
    const config = readConfig(root);
    echoRanges(root);
    MODES[config.mode]?.(root, config);
  }
});
