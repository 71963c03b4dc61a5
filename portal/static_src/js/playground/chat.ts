import type { Config } from "./config.ts";
import { find, readParams } from "./config.ts";
import { showCode } from "./code.ts";
import { Runner } from "./run.ts";
import { stream } from "./stream.ts";

interface Message { role: "system" | "user" | "assistant"; content: string }

export function startChat(root: HTMLElement, config: Config): void {
  const runner = new Runner(root, config);
  const input = find<HTMLTextAreaElement>(root, "input");
  const system = find<HTMLTextAreaElement>(root, "system");
  let messages: Message[] = [];

  const body = (extra: Message[]) => ({
    model: config.model,
    messages: [...(system.value.trim() ? [{ role: "system", content: system.value.trim() }] : []), ...messages, ...extra],
    stream: true,
    stream_options: { include_usage: true },
    ...readParams(root),
  });
  const draft = (): Message[] => (input.value.trim() ? [{ role: "user", content: input.value.trim() }] : []);
  const refreshCode = () => showCode(root, config, "/chat/completions", body(draft()));

  const send = () => {
    const asked = draft()[0];
    if (!asked || runner.busy) return;
    const request = body([asked]);
    input.value = "";
    addTurn(root, config, asked);
    const answer: Message = { role: "assistant", content: "" };
    const turn = addTurn(root, config, answer);
    turn.dataset.busy = "";
    void runner
      .run((signal) => stream(config, request, signal, (comment) => runner.gauge.hear(comment), (text) => {
        answer.content += text;
        turn.querySelector(".turn-text")!.textContent = answer.content;
        runner.gauge.piece();
        follow(root);
      }))
      .finally(() => {
        delete turn.dataset.busy;
        if (answer.content) messages = [...messages, asked, answer];
        else [turn, turn.previousElementSibling].forEach((element) => element?.remove());
        if (!answer.content) input.value ||= asked.content;
        refreshCode();
        input.focus();
      });
  };

  find(root, "form").addEventListener("submit", (event) => (event.preventDefault(), send()));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  find(root, "clear").addEventListener("click", () => {
    messages = [];
    find(root, "transcript").replaceChildren();
    refreshCode();
  });
  root.addEventListener("input", refreshCode);
  refreshCode();
}

function addTurn(root: HTMLElement, config: Config, message: Message): HTMLElement {
  const turn = document.createElement("div");
  turn.className = "turn";
  turn.dataset.role = message.role;
  const role = Object.assign(document.createElement("span"), { className: "turn-role", textContent: config.words[message.role] });
  const text = Object.assign(document.createElement("div"), { className: "turn-text", textContent: message.content });
  turn.append(role, text);
  find(root, "transcript").append(turn);
  follow(root);
  return turn;
}

function follow(root: HTMLElement): void {
  const list = find(root, "transcript");
  list.scrollTop = list.scrollHeight;
}
