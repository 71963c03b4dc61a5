// What a month of use would cost a subscriber, and bring, while the provider types the prices.
import { money } from "./elements/numbers.ts";

function value(form: HTMLElement, selector: string): number {
  return Number(form.querySelector<HTMLInputElement>(selector)?.value) || 0;
}

// Typed decimals become integers of micro-minor units at once; nothing is summed in floats.
function micro(amount: number, exponent: number): bigint {
  return BigInt(Math.round(amount * 10 ** (6 + exponent)));
}

function monthlyTotal(form: HTMLElement, exponent: number): bigint {
  let total = micro(value(form, "[name=monthly_fee]"), exponent);
  for (const row of form.querySelectorAll<HTMLElement>("[data-plan-meter]")) {
    const meter = row.dataset.planMeter!;
    const used = Math.round(value(form, `[data-preview="${meter}"]`));
    const billed = Math.max(0, used - Math.round(value(form, `[name="${meter}_included"]`)));
    total += (micro(value(form, `[name="${meter}_price"]`), exponent) * BigInt(billed)) / BigInt(row.dataset.quantity!);
  }
  return total;
}

function update(form: HTMLElement): void {
  const currency = { code: form.dataset.currency!, exponent: Number(form.dataset.exponent) };
  const isFree = form.querySelector<HTMLInputElement>("[name=kind]:checked")?.value === "free";
  const total = isFree ? 0n : monthlyTotal(form, currency.exponent);
  const commission = (total * BigInt(Math.round(Number(form.dataset.commission) * 100))) / 10_000n;
  const show = (name: string, amount: bigint) => {
    form.querySelector(`[data-preview-${name}]`)!.textContent = money(amount, currency);
  };
  show("total", total);
  show("commission", commission);
  show("earned", total - commission);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll<HTMLElement>("[data-plan-form]")) {
    form.addEventListener("input", () => update(form));
    update(form);
  }
});
