// The files someone dropped or picked, by their path below the chosen folder.

export interface Chosen { path: string; file: File }

export function fromInput(input: HTMLInputElement): Chosen[] {
  return withoutRoot([...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

export async function fromDrop(event: DragEvent): Promise<Chosen[]> {
  const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return withoutRoot((await Promise.all(entries.map(walk))).flat());
}

async function walk(entry: FileSystemEntry): Promise<Chosen[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path: entry.fullPath.slice(1), file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Chosen[] = [];
  // A reader hands out at most a hundred entries at a time.
  for (;;) {
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return found;
    found.push(...(await Promise.all(batch.map(walk))).flat());
  }
}

// "my-model/config.json" becomes "config.json" when everything lies in one folder. Hidden files stay behind.
function withoutRoot(chosen: Chosen[]): Chosen[] {
  const roots = new Set(chosen.map(({ path }) => path.split("/")[0]));
  const nested = chosen.every(({ path }) => path.includes("/"));
  const cut = roots.size === 1 && nested ? [...roots][0]!.length + 1 : 0;
  return chosen
    .map(({ path, file }) => ({ path: path.slice(cut), file }))
    .filter(({ path }) => !path.split("/").some((part) => part.startsWith(".")))
    .sort((a, b) => a.path.localeCompare(b.path));
}
