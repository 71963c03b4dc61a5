// Goes on with a text, as models without a chat template do: the text, and after it what the model adds.
import type { Config } from "./config.ts";
import { find, readParams } from "./config.ts";
import { showCode } from "./code.ts";
import { Runner } from "./run.ts";
import { stream } from "./stream.ts";

export function startCompletion(root: HTMLElement, config: Config): void {
  const runner = new Runner(root, config);
  const input = find<HTMLTextAreaElement>(root, "input");
  const result = find(root, "result");
  const goOn = find(root, "continue");

  // Spaces and line breaks at the end of a text are part of what is to be continued.
  const body = () => ({
    model: config.model,
    prompt: input.value,
    stream: true,
    stream_options: { include_usage: true },
    ...readParams(root),
  });
  const refreshCode = () => showCode(root, config, "/completions", body());

  const send = () => {
    if (!input.value || runner.busy) return;
    const added = show(result, input.value);
    goOn.hidden = true;
    result.dataset.busy = "";
    void runner
      .run((signal) => stream(config, body(), signal, (comment) => runner.gauge.hear(comment), (text) => {
        added.append(text);
        runner.gauge.piece();
        result.scrollTop = result.scrollHeight;
      }))
      .finally(() => {
        delete result.dataset.busy;
        goOn.hidden = !added.textContent;
        if (!added.textContent) result.replaceChildren();
      });
  };

  find(root, "form").addEventListener("submit", (event) => (event.preventDefault(), send()));
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find<HTMLFormElement>(root, "form").requestSubmit();
  });
  goOn.addEventListener("click", () => {
    input.value = result.textContent ?? "";
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
    input.scrollTop = input.scrollHeight;
    goOn.hidden = true;
    refreshCode();
  });
  root.addEventListener("input", refreshCode);
  refreshCode();
}

function show(result: HTMLElement, given: string): HTMLElement {
  const added = Object.assign(document.createElement("span"), { className: "added" });
  result.replaceChildren(Object.assign(document.createElement("span"), { className: "given", textContent: given }), added);
  return added;
}
