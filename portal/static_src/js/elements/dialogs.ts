// Buttons data-open-dialog="id" and data-close-dialog; a confirmation may ask for the name to be typed.

function watchTypedName(dialog: HTMLDialogElement): void {
  const input = dialog.querySelector<HTMLInputElement>("input[data-must-equal]");
  const confirm = dialog.querySelector<HTMLButtonElement>("[data-confirm]");
  if (!input || !confirm) return;
  const check = () => (confirm.disabled = input.value.trim() !== input.dataset.mustEqual);
  input.addEventListener("input", check);
  check();
}

export function watchDialogs(): void {
  document.addEventListener("click", (event) => {
    const target = event.target as HTMLElement;
    const opener = target.closest<HTMLElement>("[data-open-dialog]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.openDialog ?? "") as HTMLDialogElement | null;
      if (!dialog) return;
      event.preventDefault();
      watchTypedName(dialog);
      dialog.showModal();
    } else if (target.closest("[data-close-dialog]") || target instanceof HTMLDialogElement) {
      target.closest("dialog")?.close();
    }
  });
}
