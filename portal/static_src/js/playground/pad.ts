// A black square to draw a white shape on, for classifiers of handwriting.
import { find } from "./config.ts";

// `onStroke` is called when a line is done. The drawing is null until something has been drawn.
export function startPad(root: HTMLElement, onStroke: () => void): () => string | null {
  const canvas = find<HTMLCanvasElement>(root, "pad");
  const brush = canvas.getContext("2d")!;
  let isBlank = true;
  const clear = () => {
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, canvas.width, canvas.height);
    isBlank = true;
  };
  const at = (event: PointerEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    Object.assign(brush, { strokeStyle: "#fff", lineWidth: canvas.width / 9, lineCap: "round", lineJoin: "round" });
    brush.beginPath();
    brush.moveTo(...at(event));
    brush.lineTo(...at(event));
    brush.stroke();
    isBlank = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    brush.lineTo(...at(event));
    brush.stroke();
  });
  canvas.addEventListener("pointerup", onStroke);
  find(root, "pad-clear").addEventListener("click", () => (clear(), onStroke()));
  clear();
  return () => (isBlank ? null : canvas.toDataURL("image/png"));
}
