// A generation as it arrives: what each piece adds, and the usage that its last chunk tells.
import { events, post } from "./call.ts";
import type { Config } from "./config.ts";

type Hear = (text: string) => void;

export async function stream(config: Config, body: object, signal: AbortSignal, onComment: Hear, onText: Hear) {
  const response = await post(config, body, signal);
  let usage: Record<string, any> | undefined;
  for await (const event of events(response, onComment)) {
    const choice = event.choices?.[0];
    const text = choice?.delta?.content ?? choice?.text;
    if (text) onText(text);
    usage = event.usage ?? usage;
  }
  return usage;
}
