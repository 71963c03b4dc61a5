// A black square to draw a white shape on, for classifiers of handwriting.
import { find } from "./config.ts";

export function startPad(root: HTMLElement, onImage: (image: Blob) => void): void {
  const canvas = root.querySelector<HTMLCanvasElement>("[data-part=pad]");
  const brush = canvas?.getContext("2d");
  if (!canvas || !brush) return;
  const clear = () => {
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, canvas.width, canvas.height);
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
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    brush.lineTo(...at(event));
    brush.stroke();
  });
  find(root, "pad-clear").addEventListener("click", clear);
  find(root, "pad-use").addEventListener("click", () => canvas.toBlob((image) => image && onImage(image)));
  clear();
}
