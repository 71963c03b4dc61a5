// Buttons data-copy="text", or data-copy-from="#id" for what an element holds.

async function write(text: string): Promise<void> {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  // Plain http on a local network has no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  area.style.cssText = "position:fixed;opacity:0";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function textOf(button: HTMLElement): string {
  const source = button.dataset.copyFrom;
  if (!source) return button.dataset.copy ?? "";
  const panels = [...document.querySelectorAll<HTMLElement>(source)];
  return (panels.find((panel) => !panel.hidden) ?? panels[0])?.innerText.trim() ?? "";
}

export function watchCopying(): void {
  document.addEventListener("click", async (event) => {
    const button = (event.target as Element).closest<HTMLElement>(".copy");
    if (!button) return;
    event.preventDefault();
    await write(textOf(button));
    button.dataset.copied = "";
    const said = button.querySelector<HTMLElement>("[role=status]");
    if (said) said.textContent = button.dataset.done ?? "";
    setTimeout(() => {
      delete button.dataset.copied;
      if (said) said.textContent = "";
    }, 1800);
  });
}
