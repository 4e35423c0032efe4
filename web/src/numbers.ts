// How numbers are written: always as many digits, with a true minus, so that columns line up.
export const signed = (value: number, digits = 3): string =>
  `${value < 0 && Number(value.toFixed(digits)) !== 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(digits)}`;
export const plain = (value: number, digits = 3): string => value.toFixed(digits).replace("-", "\u2212");
/** Nothing short of certainty is written as 100%, and nothing above 0 as none. */
export function percent(share: number): string {
  const text = (100 * share).toFixed(2);
  if (text === "100.00" && share < 1) return "> 99.99%";
  return text === "0.00" && share > 0 ? "< 0.01%" : `${text}%`;
}
export const count = (value: number): string => value.toLocaleString("en-US");
export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
export const strongest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
