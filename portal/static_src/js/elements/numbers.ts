// Numbers and money as the server writes them. Money stays an integer of micro-minor units.

const language = () => document.documentElement.lang || "en";

export function whole(value: number): string {
  return new Intl.NumberFormat(language()).format(value);
}

export function compact(value: number): string {
  return new Intl.NumberFormat(language(), { notation: "compact", maximumSignificantDigits: 4 }).format(value);
}

export function inUnit(value: number, unit: string): string {
  if (unit === "%") return `${new Intl.NumberFormat(language(), { maximumFractionDigits: 1 }).format(value)}%`;
  if (/^[A-Z]{3}$/.test(unit)) {
    const money = { style: "currency", currency: unit, currencyDisplay: "narrowSymbol", maximumSignificantDigits: 3 } as const;
    return new Intl.NumberFormat(language(), money).format(value);
  }
  return unit ? `${compact(value)} ${unit}` : compact(value);
}

export interface Currency { code: string; exponent: number }

// Three significant digits below one unit, so that a call's price is never shown as nothing.
export function money(micro: bigint, currency: Currency): string {
  const scale = 10 ** (6 + currency.exponent);
  const value = Number(micro) / scale;
  const digits: Intl.NumberFormatOptions = Math.abs(value) >= 1 || value === 0
    ? { minimumFractionDigits: currency.exponent, maximumFractionDigits: currency.exponent }
    : { minimumFractionDigits: currency.exponent, maximumSignificantDigits: 3, roundingPriority: "morePrecision" };
  const format: Intl.NumberFormatOptions = { style: "currency", currency: currency.code, currencyDisplay: "narrowSymbol", ...digits };
  return new Intl.NumberFormat(language(), format).format(value);
}
