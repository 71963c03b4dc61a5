// "View as code": the very call the playground would make, in three languages.
import type { Config } from "./config.ts";
import { find } from "./config.ts";

const KEY = "$MERCATO_API_KEY";

function python(value: unknown, depth = 1): string {
  const pad = "    ".repeat(depth);
  if (Array.isArray(value)) return value.length ? `[\n${value.map((v) => `${pad}    ${python(v, depth + 1)},\n`).join("")}${pad}]` : "[]";
  if (value && typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${python(v, depth + 1)}`).join(", ")}}`;
  if (typeof value === "boolean") return value ? "True" : "False";
  return value === null ? "None" : JSON.stringify(value);
}

function methodOf(path: string): string | null {
  if (path.endsWith("/chat/completions")) return "chat.completions.create";
  if (path.endsWith("/completions")) return "completions.create";
  return path.endsWith("/embeddings") ? "embeddings.create" : null;
}

// Where a chunk of a stream has its text.
function pieceOf(path: string, access: "." | "?."): string {
  return path.endsWith("/chat/completions") ? `${access}delta${access}content` : `${access}text`;
}

function asCurl(config: Config, path: string, body: object): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${config.base_url}${path} \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -H "Content-Type: application/json" \\\n  -d '${json}'`;
}

function asPython(config: Config, path: string, body: Record<string, unknown>): string {
  const method = methodOf(path);
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${python(value)},\n`).join("");
  const client = `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${config.base_url}", api_key=os.environ["MERCATO_API_KEY"])\n`;
  if (!method) {
    const head = `import os\n\nimport httpx\n\nanswer = httpx.post(\n    "${config.base_url}${path}",\n    headers={"Authorization": f"Bearer {os.environ['MERCATO_API_KEY']}"},\n`;
    return `${head}    json=${python(body)},\n)\nprint(answer.json())`;
  }
  if (!body.stream) return `${client}answer = client.${method}(\n${fields})\nprint(answer)`;
  return `${client}stream = client.${method}(\n${fields})\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0]${pieceOf(path, ".")} or "", end="")`;
}

function asJavaScript(config: Config, path: string, body: Record<string, unknown>): string {
  const method = methodOf(path);
  const json = JSON.stringify(body, null, 2);
  if (!method) {
    return `const answer = await fetch("${config.base_url}${path}", {\n  method: "POST",\n  headers: {\n    Authorization: \`Bearer \${process.env.MERCATO_API_KEY}\`,\n    "Content-Type": "application/json",\n  },\n  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),\n});\nconsole.log(await answer.json());`;
  }
  const client = `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${config.base_url}", apiKey: process.env.MERCATO_API_KEY });\n`;
  if (!body.stream) return `${client}const answer = await client.${method}(${json});\nconsole.log(answer);`;
  return `${client}const stream = await client.${method}(${json});\nfor await (const chunk of stream) process.stdout.write(chunk.choices[0]${pieceOf(path, "?.")} ?? "");`;
}

export function showCode(root: HTMLElement, config: Config, path: string, body: Record<string, unknown>): void {
  find(root, "code-curl").textContent = asCurl(config, path, body);
  find(root, "code-python").textContent = asPython(config, path, body);
  find(root, "code-javascript").textContent = asJavaScript(config, path, body);
}
