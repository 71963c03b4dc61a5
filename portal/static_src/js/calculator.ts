// The cost of a month of use, as the reader moves the quantities. Integers only, like the server.
import { money } from "./elements/numbers.ts";

interface Component { meter: string; amount: number | null; per: number; included: number }
interface Plan { flat: number; currency: { code: string; exponent: number }; components: Component[] }

// Rounds down once for the whole period, as billing does.
function charge({ amount, per, included }: Component, quantity: number): bigint {
  const billed = BigInt(Math.max(0, quantity - included));
  return (BigInt(amount ?? 0) * billed) / BigInt(per);
}

function update(root: HTMLElement): void {
  const quantities = new Map<string, number>();
  for (const input of root.querySelectorAll<HTMLInputElement>("[data-meter]")) {
    quantities.set(input.dataset.meter!, Math.max(0, Math.round(Number(input.value) || 0) * Number(input.dataset.scale ?? 1)));
  }
  for (const output of document.querySelectorAll<HTMLElement>(`[data-plan-cost="${root.id}"]`)) {
    const plan: Plan = JSON.parse(output.dataset.plan ?? "{}");
    const total = plan.components.reduce(
      (sum, component) => sum + charge(component, quantities.get(component.meter) ?? 0), BigInt(plan.flat));
    output.textContent = money(total, plan.currency);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  for (const root of document.querySelectorAll<HTMLElement>("[data-calculator]")) {
    root.addEventListener("input", () => update(root));
    update(root);
  }
});
