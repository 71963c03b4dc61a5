// One request to the data plane: JSON, or server-sent events as they arrive.
import type { Config } from "./config.ts";

export class Refusal extends Error {
  constructor(message: string, readonly status: number, readonly told: unknown = null) {
    super(message);
  }
}

export async function post(config: Config, body: unknown, signal: AbortSignal): Promise<Response> {
  const response = await fetch(config.endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...config.headers },
    credentials: "same-origin",
    body: JSON.stringify(body),
    signal,
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  const message = problem?.error?.message ?? problem?.detail ?? `${config.words.failed} (${response.status})`;
  throw new Refusal(message, response.status, problem?.error);
}

export interface Retold { message: string; url: string; action: string }

// A refusal in the reader's language, and where its limit is changed: the data plane speaks English.
export async function retell(config: Config, refusal: Refusal): Promise<Retold> {
  const plain = { message: refusal.message, url: "", action: "" };
  if (!refusal.told) return plain;
  const headers = { "Content-Type": "application/json" };
  return fetch(config.retell, { method: "POST", headers, body: JSON.stringify(refusal.told) })
    .then((answer) => (answer.ok ? answer.json() : plain))
    .catch(() => plain);
}

// Yields each event's data until [DONE]. Comment lines keep the connection open and say what a call waits for.
export async function* events(response: Response, onComment: (text: string) => void): AsyncGenerator<Record<string, any>> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const lines = block.split(/\r?\n/);
      for (const line of lines) if (line.startsWith(":")) onComment(line.slice(1).trim());
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new Refusal(event.error.message, 0, event.error);
      yield event;
    }
  }
}
