// Numbers and lists as people read them.

/** Three significant digits, without a trail of zeros; a dash for what is no number. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) >= 1000 || value === 0 ? value.toFixed(0) : value.toPrecision(3);
  return (text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

/** A value with how far it may be off: both to two significant digits of the latter. */
export function within(value: number, half: number): string {
  if (!Number.isFinite(value) || !(half > 0) || !Number.isFinite(half)) return number(value);
  const digits = Math.max(0, 1 - Math.floor(Math.log10(half)));
  if (digits > 6) return `${number(value)} ± ${number(half)}`;
  const [shown, reach] = [value.toFixed(digits), half.toFixed(digits)];
  return `${Number(shown) === 0 ? shown.replace("-", "") : shown.replace("-", "−")} ± ${reach}`;
}

/** A share in percent; small ones keep a digit. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  const value = 100 * share;
  return `${value >= 0.05 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)}%`;
}

/** A value as a chance: what composite diffusion infers may lie a little outside of 0 and 1. */
export function asChance(value: number): number {
  return Math.max(0, Math.min(1, value));
}

export function count(many: number, one: string, more = `${one}s`): string {
  return `${many} ${many === 1 ? one : more}`;
}
