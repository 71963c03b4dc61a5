// The REST upload: declare files with their digests, send chunks, complete. A broken line resumes where it broke.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { Chosen } from "./choose.ts";

const CHUNK = 4 * 2 ** 20;
const PATIENCE_MS = [1000, 2000, 4000, 8000, 16000];

export interface Declared { path: string; size: number; sha256: string }
export interface UploadState { id: string; files: { path: string; size: number; received: number; stored: boolean }[] }

export class Refused extends Error {
  constructor(message: string, readonly status: number, readonly facts: Record<string, any>) {
    super(message);
  }
}

export async function digest({ file, path }: Chosen, signal: AbortSignal, onBytes: (count: number) => void): Promise<Declared> {
  const hash = sha256.create();
  for (let offset = 0; offset < file.size; offset += CHUNK) {
    signal.throwIfAborted();
    const bytes = new Uint8Array(await file.slice(offset, offset + CHUNK).arrayBuffer());
    hash.update(bytes);
    onBytes(bytes.length);
  }
  return { path, size: file.size, sha256: bytesToHex(hash.digest()) };
}

export function ask(method: string, url: string, body: BodyInit | null, signal?: AbortSignal): Promise<Response> {
  const token = document.querySelector<HTMLMetaElement>("meta[name=csrf-token]")?.content ?? "";
  const type = typeof body === "string" ? "application/json" : "application/octet-stream";
  return fetch(url, { method, body, signal, credentials: "same-origin", headers: { "X-CSRFToken": token, "Content-Type": type } });
}

export async function call(method: string, url: string, body: BodyInit | null, signal?: AbortSignal): Promise<any> {
  const response = await ask(method, url, body, signal);
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const error = answer.error ?? { message: answer.detail };
  throw new Refused(error.message ?? `HTTP ${response.status}`, response.status, error);
}

export async function sendFile(uploadUrl: string, { path, file }: Chosen, from: number, signal: AbortSignal, onBytes: (count: number) => void): Promise<void> {
  let offset = from;
  let failures = 0;
  while (offset < file.size) {
    const chunk = file.slice(offset, offset + CHUNK);
    try {
      await call("PUT", `${uploadUrl}files/${encodeURI(path)}?offset=${offset}`, chunk, signal);
      offset += chunk.size;
      failures = 0;
      onBytes(chunk.size);
    } catch (error) {
      const known = error instanceof Refused && error.facts.code === "wrong_offset" ? Number(error.facts.offset) : NaN;
      if (Number.isFinite(known)) {
        onBytes(known - offset);
        offset = known;
      } else if (signal.aborted || (error instanceof Refused && error.status < 500) || failures >= PATIENCE_MS.length) {
        throw error;
      } else {
        await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS[failures++]));
      }
    }
  }
}
